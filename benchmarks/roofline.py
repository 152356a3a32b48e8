"""Where the time of the fast path goes: operations counted, rates measured.

    python benchmarks/roofline.py [--seconds 8] [--result results/bench-roofline.json]

The ceiling is the rate of a wide `nn.Conv2d` 5x5 in the same run. A layer with a single output field does all sparse
steps and next to no products; what a layer with all fields takes more is the products and the transform of the output.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from cases import GOALS, Case, grid
from common import alternate, infer
from torch import nn

import pdoconv as pdo
from pdoconv.kernels.plan import fourier_plan
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """Return counts and rates of one layer's inference; billions of multiply-adds, and of terms, a second."""
    group, batch = pdo.group(case.group), case.batch()
    field = group.regular(case.fields)
    layers = {
        "whole": pdo.PDOConv2d(field, field, case.kernel, padding="same", method="fourier"),
        "steps": pdo.PDOConv2d(field, group.regular(1), case.kernel, padding="same", method="fourier"),
        "conv": nn.Conv2d(case.channels, case.channels, case.kernel, padding=case.kernel // 2),
    }
    x = torch.randn(batch, case.channels, case.pixels, case.pixels)
    times = alternate(
        {name: lambda layer=layer: infer(layer.eval(), x) for name, layer in layers.items()},
        title=str(case),
        seconds=seconds,
    )
    whole, steps, conv = (min(times[name]) / 1e3 for name in layers)
    plan = fourier_plan(layers["whole"].filters, group, case.kernel, "regular", "regular")
    assert plan is not None
    pixels = batch * case.pixels**2
    products = pixels * case.fields**2 * sum(b.copies * b.outs * b.ins for b in plan.blocks)
    terms = pixels * case.fields * (len(plan.enter.sources) + len(plan.couple.sources))
    terms += pixels * case.channels * sum(len(table.sources) for table in plan.passes)
    dense = pixels * (case.channels * case.kernel) ** 2
    return {
        "group": case.group,
        "fields": case.fields,
        "batch": batch,
        "ms": {"whole": round(1e3 * whole, 2), "steps": round(1e3 * steps, 2), "conv": round(1e3 * conv, 2)},
        "billions": {k: round(v / 1e9, 3) for k, v in (("dense", dense), ("products", products), ("terms", terms))},
        "rates": {
            "dense": round(dense / conv / 1e9, 1),
            "products": round(products / (whole - steps) / 1e9, 1),
            "terms": round(terms / steps / 1e9, 1),
        },
    }


def main() -> None:
    """Measure the goal cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--result", type=Path, default=Path("results/bench-roofline.json"))
    options = parser.parse_args()
    origin = provenance()
    rows = [measure(case, options.seconds) for case in grid() if case.goal and case.group in GOALS]
    for row in rows:
        print(row)
    write_json(options.result, {"rows": rows, **origin})
    print(f"Written: {options.result}")


if __name__ == "__main__":
    main()
