"""How the cost of a layer grows with the order of the group, and with its fields: `nn.Conv2d` beside two methods.

    python benchmarks/group_order.py [--seconds 8] [--result results/bench-group-order.json]

Two lines: 8 fields of C2 to C32, and 4 to 64 fields of C8; 32x32 pixels, 5x5, float32. All points of a line have the
batch that the dearest one permits. The plain layer has the same channels, so that its cost grows with the square of
both; the exponents are log-log slopes over the last four points of a line.
"""

import argparse
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from cases import STEP_SECONDS, Case
from common import alternate, infer, ratio, step
from torch import nn

import pdoconv as pdo
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance

LINES = {
    "group order": [Case(f"C{n}", 8) for n in (2, 4, 6, 8, 12, 16, 24, 32)],
    "fields": [Case("C8", fields) for fields in (4, 8, 16, 24, 32, 48, 64)],
}
METHODS = ("dense", "auto")
PHASES = {"forward_backward": step, "inference": infer}
FIELDS = LINES["group order"][0].fields


def measure(case: Case, batch: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return a row: ratios to the plain layer, and milliseconds of all three."""
    group = pdo.group(case.group)
    field = group.regular(case.fields)
    layers: dict[str, nn.Module] = {"conv": nn.Conv2d(case.channels, case.channels, case.kernel, padding="same")}
    for method in METHODS:
        layers[method] = pdo.PDOConv2d(field, field, case.kernel, padding="same", method=method)
    x = torch.randn(batch, case.channels, case.pixels, case.pixels)
    row: dict[str, Any] = {"group": case.group, "order": group.order, "fields": case.fields, "batch": batch}
    for phase, call in PHASES.items():
        learning = phase == "forward_backward"
        x.requires_grad_(learning)
        for layer in layers.values():
            layer.train(learning)
        times = alternate(
            {name: lambda layer=layer, call=call: call(layer, x) for name, layer in layers.items()},
            title=f"{case}, batch {batch}, {phase}",
            rounds=options.rounds,
            seconds=options.seconds * (2 / 3 if learning else 1 / 3),
        )
        row[phase] = {method: ratio(times[method], times["conv"]) for method in METHODS}
        row[phase]["ms"] = {name: round(statistics.median(each), 3) for name, each in times.items()}
    return row


def slope(sizes: list[int], times: list[float], points: int = 4) -> float:
    """Return the exponent of time against size over the last points, least squares in logarithms."""
    x, y = ([math.log(v) for v in values[-points:]] for values in (sizes, times))
    return round(statistics.linear_regression(x, y).slope, 2)


def exponents(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, float]]:
    """Return the exponents of a line by phase and layer."""
    sizes = [row[key] for row in rows]
    return {
        phase: {name: slope(sizes, [row[phase]["ms"][name] for row in rows]) for name in ("conv", *METHODS)}
        for phase in PHASES
    }


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw milliseconds an image and field against the order and against the fields; full lines train, dashed infer."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2, sharey=True)
    names = {"conv": "nn.Conv2d of the same channels", "dense": 'ours, "dense"', "auto": 'ours, "auto"'}
    titles = (f"C_n, {FIELDS} fields", "C8")
    for panel, title, (name, rows) in zip(panels, titles, result["lines"].items(), strict=True):
        key = "order" if name == "group order" else "fields"
        sizes = [row[key] for row in rows]
        for (layer, label), colour in zip(names.items(), ("gray", "tab:blue", "tab:orange"), strict=True):
            for phase, style in (("forward_backward", "-"), ("inference", "--")):
                heights = [row[phase]["ms"][layer] / row["batch"] / row["fields"] for row in rows]
                grows = f": {result['exponents'][name][phase][layer]}"
                text = label + grows if style == "-" else None
                panel.plot(sizes, heights, style, marker="o", markersize=4, color=colour, label=text)
        panel.set(xscale="log", yscale="log", title=title, xlabel=name)
        panel.set_xticks(sizes, [str(n) for n in sizes])
        panel.xaxis.minorticks_off()
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        panel.grid(True, alpha=0.3)
        panel.legend(frameon=False, fontsize=8, title="exponent of the whole time", title_fontsize=8)
    panels[0].set_ylabel("ms an image and field\n(full: training step, dashed: inference)")
    figure.savefig(path)


def main() -> None:
    """Measure both lines, fit, write table and picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each point, at least 5 rounds")
    parser.add_argument("--rounds", type=int, help="instead of --seconds")
    parser.add_argument("--step-seconds", type=float, default=STEP_SECONDS, help="of the plain layer, sets the batch")
    parser.add_argument("--most", type=int, help="channels: leave out wider layers")
    parser.add_argument("--result", type=Path, default=Path("results/bench-group-order.json"))
    options = parser.parse_args()
    result: dict[str, Any] = {"lines": {}, "exponents": {}, **provenance()}
    print(f"{'case':36}{'batch':>6}{'conv ms':>10}" + "".join(f"{m:>8}{'quartiles':>13}" for m in METHODS), flush=True)
    for name, points in LINES.items():
        cases = [case for case in points if not options.most or case.channels <= options.most]
        batch = min(case.batch(options.step_seconds) for case in cases)
        rows = result["lines"][name] = []
        for case in cases:
            row = measure(case, batch, options)
            rows.append(row)
            for phase in PHASES:
                parts = [row[phase][method] for method in METHODS]
                text = "".join(f"{p['ratio']:>8.3f}{p['quartile_low']:>8.3f}-{p['quartile_high']:.3f}" for p in parts)
                title = f"{case.group}, {case.fields} fields, {phase}"
                print(f"{title:36}{batch:>6}{row[phase]['ms']['conv']:>10.2f}{text}", flush=True)
            write_json(options.result, result)
        result["exponents"][name] = exponents(rows, "order" if name == "group order" else "fields")
        print(f"exponents over {name}: {result['exponents'][name]}", flush=True)
    write_json(options.result, result)
    draw(result, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
