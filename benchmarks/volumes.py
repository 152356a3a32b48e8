"""Tetracubes trained upright and tested in other orientations: 24 rotations of the cube built in, or not.

    python benchmarks/volumes.py [--seeds 3] [--runs runs/volumes] [--result results/volumes.json]

Every net is tested on the same 1,000 shapes in three orientations. Runs that are finished in `--runs` are not repeated.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdoconv.data.shapes import TETRACUBES, shapes
from pdoconv.recipes import VolumesSmall
from pdoconv.recipes.volumes_small import TEST, TEST_SEED
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.images import ImageData
from pdoconv.training.provenance import provenance
from pdoconv.training.run import evaluate, train

ORIENTATIONS = ("upright", "cube", "any")
ROWS: dict[str, dict[str, Any]] = {
    "plain, trained upright": {"filters": "plain", "epochs": 20},
    "plain, 10 times the volumes, trained in any orientation": {
        "filters": "plain",
        "epochs": 4,
        "samples": 10_240,
        "orientation": "any",
    },
    "24 rotations built in, trained upright": {},
}


def errors(settings: VolumesSmall, run: Path) -> dict[str, float]:
    """Train unless that is done, and return the error in percent by orientation, parameters and seconds."""
    folder = RunFolder(run)
    if not folder.result.exists():
        train("volumes-small", settings, run, resume=folder.config.exists(), devices=1, accelerator="cpu")
    training, _ = settings.splits(settings.data())
    found = {}
    for orientation in ORIENTATIONS:
        test = shapes(TEST, orientation, seed=TEST_SEED, size=settings.image_shape[0])
        images = ImageData(training, None, test, batch_size=settings.batch_size)
        found[orientation] = evaluate(folder, images, "test", "cpu")["test_error_percent"]
    done = json.loads(folder.result.read_text())
    return found | {name: done[name] for name in ("parameters", "train_seconds", "train_images")}


def row(name: str, settings: dict[str, Any], seeds: int, runs: Path) -> dict[str, Any]:
    """Return means and standard deviations over seeds."""
    each = [
        errors(VolumesSmall(**settings, seed=seed), runs / f"{name.replace(' ', '-')}-seed{seed}")
        for seed in range(seeds)
    ]
    return {
        "net": name,
        "error_percent": {
            o: {
                "mean": round(statistics.mean(e[o] for e in each), 2),
                "sd": round(statistics.stdev(e[o] for e in each), 2) if seeds > 1 else None,
                "each": [e[o] for e in each],
            }
            for o in ORIENTATIONS
        },
        "parameters": each[0]["parameters"],
        "train_volumes": each[0]["train_images"],
        "epochs": VolumesSmall(**settings).epochs,
        "train_seconds": round(statistics.mean(e["train_seconds"] for e in each), 1),
        "seeds": seeds,
        "settings": settings,
    }


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw a volume of every class in two orientations, and the errors as bars."""
    figure = Figure(figsize=(9, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    panels = top.subplots(2, len(TETRACUBES))
    for line, orientation in zip(panels, ("upright", "any"), strict=True):
        images = shapes(len(TETRACUBES), orientation, seed=TEST_SEED).images
        for axes, image, name in zip(line, images, TETRACUBES, strict=True):
            axes.imshow(image.max(0), cmap="gray", vmin=40, vmax=200)
            axes.set(xticks=[], yticks=[])
            if orientation == "upright":
                axes.set_title(name, fontsize=8)
        line[0].set_ylabel(orientation)
    axes = bottom.subplots()
    width = 0.8 / len(rows)
    for i, entry in enumerate(rows):
        measured = [entry["error_percent"][o] for o in ORIENTATIONS]
        at = np.arange(len(ORIENTATIONS)) + (i - (len(rows) - 1) / 2) * width
        heights = [m["mean"] for m in measured]
        label = f"{entry['net']} ({entry['parameters']:,} parameters)"
        bars = axes.bar(at, heights, width * 0.92, yerr=[m["sd"] or 0 for m in measured], capsize=2, label=label)
        axes.bar_label(bars, [f"{h:.1f}" for h in heights], fontsize=7, padding=2)
    names = ("upright, up to 45° off", "then a rotation of the cube", "any rotation")
    axes.set_xticks(range(len(ORIENTATIONS)), names)
    axes.set(ylabel="test error, %", ylim=(0, 100))
    axes.axhline(100 * (1 - 1 / len(TETRACUBES)), color="gray", linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/volumes"))
    parser.add_argument("--result", type=Path, default=Path("results/volumes.json"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    origin = provenance()  # before the first result changes the checkout
    for name, settings in ROWS.items():
        rows.append(row(name, settings, options.seeds, options.runs))
        write_json(options.result, {"rows": rows, **origin})
        print(name, {o: e["mean"] for o, e in rows[-1]["error_percent"].items()}, flush=True)
    picture(rows, options.result.with_suffix(".png"))
    print(f"Written: {options.result}, {options.result.with_suffix('.png')}")


if __name__ == "__main__":
    main()
