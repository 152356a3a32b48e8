"""A PDO layer beside `nn.Conv2d` of the same expanded width, 5x5: training step, inference, construction.

    python benchmarks/layer_speed.py [--rounds 20] [--quick] [--result results/bench-layer.json]

Regular -> regular, batch 16, 32x32, float32. Ratios below 1 mean that ours is faster.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from common import ratios
from torch import nn

import pdoconv as pdo
from pdoconv.training.provenance import provenance

CASES = [("C8", 16), ("C8", 8), ("C4", 16), ("D4", 8)]


def step(layer: nn.Module, x: torch.Tensor) -> None:
    layer(x).sum().backward()
    layer.zero_grad()
    x.grad = None


def infer(layer: nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        layer(x)


def measure(name: str, fields: int, rounds: int, layout: torch.memory_format) -> dict[str, object]:
    group = pdo.group(name)
    field = group.regular(fields)
    ours = pdo.PDOConv2d(field, field, padding=2)
    peer = nn.Conv2d(field.channels, field.channels, 5, padding=2)
    x = torch.randn(16, field.channels, 32, 32).to(memory_format=layout).requires_grad_()
    title = f"{name}, {fields} fields"
    times = []
    for _ in range(10):
        start = time.perf_counter()
        pdo.PDOConv2d(field, field)
        times.append(1e3 * (time.perf_counter() - start))
    row: dict[str, object] = {"group": name, "fields": fields, "layout": str(layout).removeprefix("torch.")}
    row["forward_backward"] = ratios(
        lambda: step(ours, x), lambda: step(peer, x), rounds=rounds, title=f"{title}, step"
    )
    ours.eval()
    peer.eval()
    x = x.detach()
    row["inference"] = ratios(lambda: infer(ours, x), lambda: infer(peer, x), rounds=2 * rounds, title=f"{title}, eval")
    row["construction_ms"] = round(sorted(times)[5], 2)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--quick", action="store_true", help="the first case alone")
    parser.add_argument("--result", type=Path, default=Path("results/bench-layer.json"))
    options = parser.parse_args()
    rows = []
    head = f"{'group':6}{'fields':>7} {'layout':18}{'step':>8}{'quartiles':>13}{'eval':>8}{'quartiles':>13}"
    print(f"{head}{'build ms':>10}")
    for name, fields in CASES[: 1 if options.quick else None]:
        for layout in (torch.contiguous_format, torch.channels_last):
            row = measure(name, fields, options.rounds, layout)
            rows.append(row)
            parts = [row["forward_backward"], row["inference"]]
            text = "".join(f"{p['ratio']:>8.3f}{p['quartile_low']:>8.3f}-{p['quartile_high']:.3f}" for p in parts)
            print(f"{name:6}{fields:>7} {row['layout']:18}{text}{row['construction_ms']:>10}", flush=True)
    options.result.parent.mkdir(exist_ok=True)
    options.result.write_text(json.dumps({"rows": rows, **provenance()}, indent=2) + "\n")
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
