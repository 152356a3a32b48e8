"""A PDO layer in space beside `nn.Conv3d` of the same expanded width, 5x5x5: training step, inference, peak memory.

    python benchmarks/volume_speed.py [--methods auto dense] [--rounds 20] [--quick]

Regular -> regular, batch 2, 16^3 to 32^3 voxels, float32. Ratios below 1: ours is faster, or needs less memory.
Memory is what a fresh process needs at most for three training steps, above what it had before it made the layer.
"""

import argparse
import multiprocessing
import time
from itertools import product
from pathlib import Path
from typing import Any

import torch
from common import infer, memory, ratios, step
from torch import nn

import pdoconv as pdo
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

CASES = [("O", 4, 16), ("O", 4, 32), ("O", 4, 17), ("O", 2, 17), ("O", 1, 17), ("C4", 8, 17), ("D2", 8, 17)]
BATCH = 2


def layers(name: str, fields: int, method: str) -> tuple[nn.Module, nn.Module]:
    field = pdo.group(name, dim=3).regular(fields)
    ours = pdo.PDOConv3d(field, field, padding=2, method=method)
    return ours, nn.Conv3d(field.channels, field.channels, 5, padding=2)


def peak(which: int, name: str, fields: int, side: int, method: str, threads: int) -> float:
    """Return megabytes at most above those before; call it in a fresh process, whose peak is its own."""
    torch.set_num_threads(threads)
    x = torch.randn(BATCH, pdo.group(name, dim=3).order * fields, side, side, side, requires_grad=True)
    warm = nn.Conv3d(1, 1, 1)  # the library's own first use is not the layer's
    step(warm, torch.randn(1, 1, 2, 2, 2, requires_grad=True))
    before, _ = memory()
    layer = layers(name, fields, method)[which]
    for _ in range(3):
        step(layer, x)
    return memory()[1] - before


def measure(name: str, fields: int, side: int, method: str, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    ours, peer = layers(name, fields, method)
    build = 1e3 * (time.perf_counter() - start)
    x = torch.randn(BATCH, ours.in_type.channels, side, side, side, requires_grad=True)
    title = f"{name}, {fields} fields, {side} voxels, {method}"
    row: dict[str, Any] = {
        "group": name,
        "fields": fields,
        "side": side,
        "method": method,
        "channels": ours.in_type.channels,
    }
    row["parameters"] = [sum(p.numel() for p in layer.parameters()) for layer in (ours, peer)]
    row["forward_backward"] = ratios(
        lambda: step(ours, x), lambda: step(peer, x), rounds=rounds, title=f"{title}, step"
    )
    ours.eval()
    peer.eval()
    x = x.detach()
    row["inference"] = ratios(lambda: infer(ours, x), lambda: infer(peer, x), rounds=rounds, title=f"{title}, eval")
    row["first_construction_ms"] = round(build, 1)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = [pool.apply(peak, (which, name, fields, side, method, torch.get_num_threads())) for which in (0, 1)]
    row["peak_memory"] = {
        "ratio": round(peaks[0] / peaks[1], 3),
        "ours_mb": round(peaks[0], 1),
        "peer_mb": round(peaks[1], 1),
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=["auto"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="the first case alone")
    parser.add_argument("--result", type=Path, default=Path("results/bench-volume.json"))
    options = parser.parse_args()
    rows = []
    origin = provenance()  # before the first result changes the checkout
    head = f"{'group':6}{'fields':>7}{'side':>6}{'channels':>9} {'method':12}"
    head += f"{'step':>8}{'quartiles':>13}{'eval':>8}{'quartiles':>13}"
    print(f"{head}{'memory':>8}", flush=True)
    for (name, fields, side), method in product(CASES[: 1 if options.quick else None], options.methods):
        row = measure(name, fields, side, method, options.rounds)
        rows.append(row)
        parts = [row["forward_backward"], row["inference"]]
        text = "".join(f"{p['ratio']:>8.3f}{p['quartile_low']:>8.3f}-{p['quartile_high']:.3f}" for p in parts)
        memory = row["peak_memory"]["ratio"]
        print(f"{name:6}{fields:>7}{side:>6}{row['channels']:>9} {method:12}{text}{memory:>8.3f}", flush=True)
        write_json(options.result, {"batch": BATCH, "rows": rows, **origin})
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
