"""Layers between fields of any representation: first construction, training step and inference.

    python benchmarks/representations.py [--rounds 20] [--processes 5] [--quick]

* Construction: the first layer of a fresh process, 5x5 (3x3x3 in space) between 8 fields of each kind, after the
  imports and with its types made; the goal on the plane is 0.1 s. A plain layer stands beside.
* Layers, 5x5, 96 channels, 32x32 pixels, batch 16, beside `nn.Conv2d` of the same channels; the goal of a training
  step is a ratio of 1.05. Batch normalisation beside `nn.BatchNorm2d`, gates beside `nn.ReLU`, without a goal.
"""

import argparse
import gc
import multiprocessing
import time
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import alternate, quartiles, ratios
from layer_speed import PHASES
from torch import nn

import pdoconv as pdo
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

COLD_GOAL, STEP_GOAL = 100.0, 1.05  # milliseconds on the plane; times the plain layer
BATCH, PIXELS = 16, 32


class Case(NamedTuple):
    """A layer; its types are given as they print, after the group."""

    title: str
    group: str
    into: str
    out: str
    kernel: int = 5

    def types(self) -> tuple[pdo.FieldType, pdo.FieldType]:
        """Return types of input and output."""
        return field(self.group, self.into), field(self.group, self.out)


def field(name: str, text: str) -> pdo.FieldType:
    """Return the type of a group that prints so, such as `8 irrep(0, pseudo) + 4 quotient(C2)`."""
    group, parts = pdo.group(name), []
    for term in text.split(" + "):
        fields, _, whole = term.partition(" ")
        kind, _, argument = whole.rstrip(")").partition("(")
        n, words = int(fields), argument.split(", ")
        if kind == "irrep":
            parts.append(group.irrep(int(words[0]), n, pseudo="pseudo" in words))
        elif kind == "quotient":
            parts.append(group.quotient(pdo.group(argument, dim=group.dim), n))
        else:
            parts.append(getattr(group, kind)(n))
    return reduce(add, parts)


def every(name: str) -> str:
    """Return 8 fields of the regular and of every irreducible representation of C_n or D_n, n even."""
    half, mirrored = int(name[1:]) // 2, name.startswith("D")
    irreps = [f"irrep({k})" for k in range(1, half + 1)]
    pseudo = [f"irrep({k}, pseudo)" for k in (0, half) if mirrored]
    return " + ".join(f"8 {kind}" for kind in ("regular", "trivial", *irreps, *pseudo))


def plane(name: str) -> list[Case]:
    """Return the layers of a group of the plane whose construction is timed."""
    quotient = f"8 quotient({name[0]}{2 if name[0] == 'C' else 1})"
    return [
        Case(f"{name}, irrep -> irrep", name, "8 irrep(1)", "8 irrep(2)"),
        Case(f"{name}, regular -> irrep", name, "8 regular", "8 irrep(1)"),
        Case(f"{name}, irrep -> regular", name, "8 irrep(1)", "8 regular"),
        Case(f"{name}, quotient -> quotient", name, quotient, quotient),
        Case(f"{name}, vector -> regular", name, "8 vector", "8 regular"),
        Case(f"{name}, mixed -> mixed", name, every(name), every(name)),
    ]


def same(title: str, group: str, text: str) -> Case:
    """Return a layer between equal types."""
    return Case(title, group, text, text)


CONTINUOUS = "8 trivial + 8 irrep(1) + 8 irrep(2) + 8 irrep(3)"
COLD = [
    *(case for name in ("C4", "C6", "C8", "C16", "D4", "D8") for case in plane(name)),
    same("SO2, mixed -> mixed", "SO2", CONTINUOUS),
    same("O2, mixed -> mixed", "O2", f"{CONTINUOUS} + 8 irrep(0, pseudo)"),
    Case("O, irrep -> irrep", "O", "8 irrep(3)", "8 irrep(4)", 3),
    Case("O, quotient -> quotient", "O", "8 quotient(C4)", "8 quotient(C4)", 3),
]
IRREPS = "16 irrep(1) + 16 irrep(2) + 16 irrep(3)"
ROUND, REGULAR = "32 trivial + 16 irrep(1) + 16 irrep(2)", "16 trivial + 8 irrep(1) + 8 regular"
LAYERS = [
    same("C8, irreps", "C8", IRREPS),
    same("SO2, mixed", "SO2", ROUND),
    same("D8, quotient", "D8", "12 quotient(D1)"),
    Case("C8, regular -> irreps", "C8", "12 regular", IRREPS),
    Case("C8, irreps -> regular", "C8", IRREPS, "12 regular"),
    same("D4, mixed with regular", "D4", REGULAR),
]
MIXED = {"SO2": ROUND, "D4": REGULAR}


def cold(case: Case, plain: bool, threads: int) -> float:
    """Return the seconds that the layer takes to make, or a plain one of its channels; call it in a fresh process."""
    torch.set_num_threads(threads)
    into, out = case.types()
    ours = pdo.PDOConv2d if into.group.dim == 2 else pdo.PDOConv3d
    gc.collect()  # else a collection of all that the imports made falls into some cases and not into others
    start = time.perf_counter()
    if plain:
        nn.Conv2d(into.channels, out.channels, case.kernel, padding=case.kernel // 2)
    else:
        ours(into, out, case.kernel, padding=case.kernel // 2)
    return time.perf_counter() - start


def construction(cases: list[Case], processes: int) -> list[dict[str, Any]]:
    """Return a row for each case, and one for a plain layer as wide as the first."""
    each = {case.title: (case, False) for case in cases} | {"nn.Conv2d": (cases[0], True)}
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        threads = torch.get_num_threads()
        calls = {title: lambda words=words: pool.apply(cold, (*words, threads)) for title, words in each.items()}
        times = alternate(calls, title="first layers", rounds=processes, warm_up=0)
    rows = []
    for title, (case, plain) in each.items():
        into, out = case.types()
        low, middle, high = (round(value, 1) for value in quartiles(times[title]))
        row = {"case": title, "in_type": str(into), "out_type": str(out), "median_ms": middle}
        row |= {"quartile_low_ms": low, "quartile_high_ms": high, "most_ms": round(max(times[title]), 1)}
        row |= {} if plain or into.group.dim > 2 else {"goal_met": middle < COLD_GOAL}
        rows.append(row)
        print(f"{title:28}{middle:>8.1f} ms{low:>8.1f} - {high:.1f}, at most {row['most_ms']}", flush=True)
    return rows


def compare(title: str, ours: nn.Module, peer: nn.Module, rounds: int) -> dict[str, Any]:
    """Return a row: training step and inference of two layers."""
    row: dict[str, Any] = {"case": title, "in_type": str(ours.in_type), "out_type": str(ours.out_type)}
    x = torch.randn(BATCH, ours.in_type.channels, PIXELS, PIXELS)
    y = torch.randn(BATCH, ours.out_type.channels, PIXELS, PIXELS) if isinstance(peer, nn.ReLU) else x  # no gates
    for phase, call in PHASES.items():
        for each in (ours, peer):
            each.train(phase == "forward_backward")
        for each in (x, y):
            each.requires_grad_(phase == "forward_backward")
        pair = [lambda each=each, maps=maps, call=call: call(each, maps) for each, maps in ((ours, x), (peer, y))]
        row[phase] = ratios(*pair, title=f"{title}, {phase}", rounds=rounds)
    parts = [row[phase] for phase in PHASES]
    text = "".join(f"{p['ratio']:>8.3f}{p['quartile_low']:>8.3f}-{p['quartile_high']:.3f}" for p in parts)
    print(f"{title:28}{text}{parts[0]['ours_ms']:>9.2f}", flush=True)
    return row


def layer(case: Case, rounds: int) -> dict[str, Any]:
    """Return the row of a convolution."""
    into, out = case.types()
    ours = pdo.PDOConv2d(into, out, case.kernel, padding="same")
    peer = nn.Conv2d(into.channels, out.channels, case.kernel, padding=case.kernel // 2)
    row = compare(case.title, ours, peer, rounds)
    row["parameters"] = [sum(p.numel() for p in each.parameters()) for each in (ours, peer)]
    row["goal_met"] = row["forward_backward"]["ratio"] <= STEP_GOAL
    return row


def main() -> None:
    """Measure layers, then what stands between them, then first constructions; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--processes", type=int, default=5, help="fresh ones for each first layer")
    parser.add_argument("--quick", action="store_true", help="the first case of each part alone")
    parser.add_argument("--result", type=Path, default=Path("results/bench-representations.json"))
    options = parser.parse_args()
    some = slice(1 if options.quick else None)
    origin = provenance()  # before the first result changes the checkout
    result: dict[str, Any] = {"batch": BATCH, "pixels": PIXELS, "step_goal": STEP_GOAL, "cold_goal_ms": COLD_GOAL}
    print(f"{'case':28}{'step':>8}{'quartiles':>13}{'eval':>8}{'quartiles':>13}  step ms", flush=True)
    for case in LAYERS[some]:
        result.setdefault("layers", []).append(layer(case, options.rounds))
        write_json(options.result, {**result, **origin})
    for name, text in list(MIXED.items())[some]:
        kind = field(name, text)
        norm = compare(f"{name}, BatchNorm2d", pdo.BatchNorm2d(kind), nn.BatchNorm2d(kind.channels), options.rounds)
        gate = compare(f"{name}, GatedActivation", pdo.GatedActivation(kind), nn.ReLU(), options.rounds)
        result["between"] = [*result.get("between", []), norm, gate]
    write_json(options.result, {**result, **origin})
    result["construction"] = construction(COLD[some], options.processes)
    write_json(options.result, {**result, **origin})
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
