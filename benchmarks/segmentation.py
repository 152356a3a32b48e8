"""Segmentation on orientations not seen in training: U-Nets of equal parameters, with and without rotations.

Handwritten digits lie on pictures of dead leaves, every pixel is labelled. The systems are trained alike on upright
digits, one plain U-Net on digits at all angles. No setting was searched for on the test scenes, and the last weights
are measured. Goes on where it was stopped.

    python benchmarks/segmentation.py --systems p8 --result p8.json   # a part
    python benchmarks/segmentation.py                                 # all, then results/segmentation.json and .png
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import nn

from pdoconv.data import DigitScenes, digit_scenes
from pdoconv.data.digit_scenes import CLASSES
from pdoconv.progress import progress
from pdoconv.recipes.segmentation import SYSTEMS, Segmentation
from pdoconv.training.folder import write_json
from pdoconv.training.provenance import provenance
from pdoconv.training.segmenter import as_input, measure, train_segmenter

ANGLES = tuple(range(0, 360, 15))
VALID, TEST, CURVE = 100, 400, 100  # scenes: after every epoch, at the end, and for each angle of the curve
SHOWN = 3  # scenes in the picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=Segmentation.scenes)
    parser.add_argument("--epochs", type=int, default=Segmentation.epochs)
    parser.add_argument("--runs", type=Path, default=Path("runs/segmentation"))
    parser.add_argument("--result", type=Path, default=Path("results/segmentation.json"))
    asked = parser.parse_args()
    training, valid = digit_scenes(asked.scenes), digit_scenes(VALID, source="valid")
    test, few = digit_scenes(TEST, source="test"), digit_scenes(CURVE, source="test", seed=1)
    rows, shown = [], {}
    for name in asked.systems:
        runs = []
        for seed in range(asked.seeds):
            settings = Segmentation(name, scenes=asked.scenes, epochs=asked.epochs, seed=seed)
            print(f"{SYSTEMS[name].title}: seed {seed}", file=sys.stderr, flush=True)
            net, known = train_segmenter(settings, training, valid, asked.runs / f"{name}-seed{seed}")
            runs.append({**known, **tested(net, settings, test, few)})
            shown.setdefault(name, net)
        rows.append(row(name, runs))
    content = {
        "classes": CLASSES,
        "test_scenes": TEST,
        "scenes_for_each_angle": CURVE,
        "angles": ANGLES,
        "test_sha256_16": {"upright": test.upright().fingerprint, "turned": test.turned().fingerprint},
        "selection": "last weights; settings fixed before the test scenes were looked at",
        "rows": rows,
        **provenance(),
    }
    asked.result.parent.mkdir(parents=True, exist_ok=True)
    write_json(asked.result, content)
    draw(content, shown, few, asked.result.with_suffix(".png"))
    print("| system | parameters | IoU upright | IoU turned | Dice turned | quarter turn | training seconds |")
    print("|---|---|---|---|---|---|---|")
    for r in rows:
        print(
            f"| {r['title']} | {r['parameters']:,} | {r['upright']['mean_iou']:.3f} | {r['turned']['mean_iou']:.3f} | "
            f"{r['turned']['dice']:.3f} | {r['quarter_turn']:.1e} | {r['train_seconds']:.0f} |"
        )


def tested(net: nn.Module, settings: Segmentation, test: DigitScenes, few: DigitScenes) -> dict[str, Any]:
    """Measure upright, turned, at every angle, and by how much a quarter turn of the scene changes the logits."""
    curve = [
        measure(net, few.upright(angle), settings)["mean_iou"]
        for angle in progress(ANGLES, total=len(ANGLES), title="angles of the digits")
    ]
    x, _ = as_input(few.upright())
    with torch.no_grad():
        y, turned = net(x[:16]), net(x[:16].rot90(1, (2, 3))).rot90(-1, (2, 3))
    return {
        "upright": measure(net, test.upright(), settings),
        "turned": measure(net, test.turned(), settings),
        "curve": curve,
        "quarter_turn": float((turned - y).norm() / y.norm()),
    }


def row(name: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return means over the seeds, and every run."""

    def mean(*keys: str) -> float:
        values: list[Any] = runs
        for key in keys:
            values = [value[key] for value in values]
        return round(statistics.mean(values), 4)

    measures = ("mean_iou", "dice", "loss")
    return {
        "system": name,
        "title": SYSTEMS[name].title,
        "parameters": runs[0]["parameters"],
        **{part: {key: mean(part, key) for key in measures} for part in ("valid", "upright", "turned")},
        "quarter_turn": max(run["quarter_turn"] for run in runs),
        "curve": [round(float(v), 4) for v in np.mean([run["curve"] for run in runs], 0)],
        "train_loss": mean("train_loss"),
        "train_seconds": mean("train_seconds"),
        "runs": runs,
    }


def draw(content: dict[str, Any], nets: dict[str, nn.Module], scenes: DigitScenes, path: Path) -> None:
    """Draw turned scenes, what they are and what the systems make of them, and IoU against the angle."""
    turned = scenes.turned()
    columns = {"scene": turned.images[:SHOWN], "truth": turned.labels[:SHOWN]}
    for name, net in nets.items():
        with torch.no_grad():
            columns[SYSTEMS[name].title.replace(", ", ",\n")] = net(as_input(turned)[0][:SHOWN]).argmax(1).numpy()
    figure = Figure(figsize=(2.1 * len(columns), 2.1 * SHOWN + 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subfigures(2, 1, height_ratios=[2.1 * SHOWN, 3.6])
    colours = colormaps["tab10"].resampled(len(CLASSES))
    for i, line in enumerate(above.subplots(SHOWN, len(columns), squeeze=False)):
        for axes, (title, pictures) in zip(line, columns.items(), strict=True):
            grey = title == "scene"
            axes.imshow(pictures[i], cmap="gray" if grey else colours, vmin=0, vmax=255 if grey else len(CLASSES) - 1)
            axes.set_axis_off()
            if not i:
                axes.set_title(title, fontsize=8)
    axes = below.subplots()
    for r in content["rows"]:
        label = f"{r['title']}: {r['parameters']:,} parameters, turned {r['turned']['mean_iou']:.3f}"
        axes.plot(content["angles"], r["curve"], marker="o", markersize=3, label=label)
    axes.set(
        xlabel="turn of the digits, degrees", ylabel="mean IoU, test scenes", xticks=range(0, 361, 45), ylim=(0, 1)
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
