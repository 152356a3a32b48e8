"""A PDO layer beside two plain ones, `nn.Conv2d` of the same channels (wide) and of the same parameters (narrow).

    python benchmarks/layer_speed.py [--methods auto dense derivatives fourier] [--seconds 8] [--quick]

Regular -> regular in float32, forward + backward and inference. Not every combination: a centre for each group (32x32
pixels, 5x5, batch 16, contiguous), and from there each axis alone. The batch is smaller where a step of the wide layer
would take too long. Ratios below 1 mean that ours is faster. The figures of `method="auto"` come first in every row.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from cases import LINES, STEP_SECONDS, Case, grid, line, narrow_channels
from common import alternate, infer, ratio, step
from torch import nn

import pdoconv as pdo
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

METHODS = ("auto", "dense", "derivatives", "fourier")
TICKS = (0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5)
PHASES = {"forward_backward": step, "inference": infer}


def layers(case: Case, methods: list[str]) -> tuple[dict[str, nn.Module], dict[str, str], list[float]]:
    """Return the layers by name, why some methods are missing, and ten construction times in milliseconds."""
    field = pdo.group(case.group).regular(case.fields)
    ours: dict[str, nn.Module] = {}
    missing: dict[str, str] = {}
    for method in methods:
        try:
            ours[method] = pdo.PDOConv2d(field, field, case.kernel, padding="same", method=method)
        except ValueError as error:  # not every method serves every kernel
            missing[method] = str(error)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        pdo.PDOConv2d(field, field, case.kernel, padding="same", method=methods[0])
        times.append(1e3 * (time.perf_counter() - start))
    narrow = narrow_channels(sum(p.numel() for p in ours[methods[0]].parameters()), case.kernel)
    plain = {
        name: nn.Conv2d(channels, channels, case.kernel, padding=case.kernel // 2)
        for name, channels in (("wide", case.channels), ("narrow", narrow))
    }
    return {**ours, **plain}, missing, times


def measure(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Return a row of the result."""
    built, missing, construction = layers(case, options.methods)
    batch, layout = case.batch(options.step_seconds), getattr(torch, case.layout)
    row: dict[str, Any] = {
        "group": case.group,
        "fields": case.fields,
        "pixels": case.pixels,
        "kernel": case.kernel,
        "layout": case.layout,
        "batch": batch,
        "goal": case.goal,
        "channels": case.channels,
        "narrow_channels": built["narrow"].in_channels,
        "parameters": {
            "ours": sum(p.numel() for p in built[options.methods[0]].parameters()),
            **{name: sum(p.numel() for p in built[name].parameters()) for name in ("wide", "narrow")},
        },
        "construction_ms": round(statistics.median(construction), 2),
        "narrow": {},
        "methods": {name: {} for name in built if name in METHODS},
    }
    if missing:
        row["missing"] = missing
    inputs = {}
    for name, layer in built.items():
        layer.to(memory_format=layout)
        channels = row["narrow_channels"] if name == "narrow" else case.channels
        inputs[name] = torch.randn(batch, channels, case.pixels, case.pixels).to(memory_format=layout)
    for phase, call in PHASES.items():
        for name, layer in built.items():
            layer.train(phase == "forward_backward")
            inputs[name].requires_grad_(phase == "forward_backward")
        times = alternate(
            {name: lambda name=name, call=call: call(built[name], inputs[name]) for name in built},
            title=f"{case}, batch {batch}, {phase}",
            rounds=options.rounds,
            seconds=options.seconds * (2 / 3 if phase == "forward_backward" else 1 / 3),
        )
        row[phase] = ratio(times[options.methods[0]], times["wide"])
        row["narrow"][phase] = ratio(times[options.methods[0]], times["narrow"])
        for name in row["methods"]:
            row["methods"][name][phase] = ratio(times[name], times["wide"])
    return row


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratio to the wide layer along every axis but the memory format, one line a group."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    known = {Case(*(row[k] for k in ("group", "fields", "pixels", "kernel", "layout"))): row for row in rows}
    groups = list(dict.fromkeys(row["group"] for row in rows))
    axes = [axis for axis in LINES if axis != "layout"]
    parts = [row[phase] for row in rows for phase in PHASES]
    lowest, highest = min(1, *(p["quartile_low"] for p in parts)), max(1, *(p["quartile_high"] for p in parts))
    figure = Figure(figsize=(11, 6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(PHASES), len(axes), sharey=True, sharex="col")
    for across, (phase, title) in zip(panels, (("forward_backward", "training step"), ("inference",) * 2), strict=True):
        for panel, axis in zip(across, axes, strict=True):
            places = {value: i for i, value in enumerate(LINES[axis])}
            for group in groups:
                cases = line(list(known), axis, group)
                parts = [known[c][phase] for c in cases]
                middle = [p["ratio"] for p in parts]
                low = [p["ratio"] - p["quartile_low"] for p in parts]
                high = [p["quartile_high"] - p["ratio"] for p in parts]
                at = [places[getattr(c, axis)] for c in cases]
                panel.errorbar(at, middle, (low, high), marker="o", markersize=4, capsize=2, label=group)
            panel.axhline(1, color="gray", linewidth=0.8, linestyle=":")
            panel.set(yscale="log", title=title)
            panel.set_xticks(range(len(places)), [str(value) for value in places])
            panel.minorticks_off()
            panel.set_yticks(TICKS, [f"{value:g}" for value in TICKS])
            panel.set_ylim(0.9 * lowest, 1.1 * highest)
            panel.grid(True, alpha=0.3)
        across[0].set_ylabel("time / time of the wide nn.Conv2d")
    names = {"fields": "fields", "pixels": "pixels a side", "kernel": "taps a side"}
    for panel, axis in zip(panels[-1], axes, strict=True):
        panel.set_xlabel(names[axis])
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=len(groups), frameon=False
    )
    figure.savefig(path)


def main() -> None:
    """Measure the cases asked for; write after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["auto"], help="the first one leads a row")
    parser.add_argument("--seconds", type=float, default=8.0, help="for each case, at least 5 rounds")
    parser.add_argument("--rounds", type=int, help="instead of --seconds")
    parser.add_argument("--groups", nargs="+", help="these groups alone")
    parser.add_argument("--step-seconds", type=float, default=STEP_SECONDS, help="of the wide layer, sets the batch")
    parser.add_argument("--quick", action="store_true", help="three cases, three rounds")
    parser.add_argument("--result", type=Path, default=Path("results/bench-layer.json"))
    options = parser.parse_args()
    if options.methods[0] not in ("auto", "dense"):
        parser.error("--methods must begin with auto or dense, which serve every layer")
    cases = [case for case in grid() if not options.groups or case.group in options.groups]
    if options.quick:
        cases, options.rounds = cases[:3], options.rounds or 3
    rows: list[dict[str, Any]] = []
    origin = provenance()  # before the first result changes the checkout
    print(f"{'case':44}{'batch':>6} {'method':12}{'step':>8}{'quartiles':>13}{'eval':>8}{'quartiles':>13}", flush=True)
    for case in cases:
        row = measure(case, options)
        rows.append(row)
        show = {**row["methods"], "/ narrow": row["narrow"]}
        for name, phases in show.items():
            text = "".join(
                f"{p['ratio']:>8.3f}{p['quartile_low']:>8.3f}-{p['quartile_high']:.3f}" for p in phases.values()
            )
            print(f"{case!s:44}{row['batch']:>6} {name:12}{text}", flush=True)
        write_json(options.result, {"rows": rows, **origin})
    draw(rows, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
