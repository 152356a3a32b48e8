"""CIFAR-10 in a few epochs on a CPU: narrow residual networks of equal parameters, with and without rotations.

Every system is trained alike, with the settings of the recipe `cifar10` but fewer epochs, on 45,000 images; no setting
was searched for. The last weights (their average) are measured once on the test set. Goes on where it was stopped; the
table is made of the runs that are finished.

    python benchmarks/cifar.py --systems p8 --result ""       # train one, for several processes at once
    python benchmarks/cifar.py                                # what is missing, then results/cifar-narrow.json and .png
"""

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdoconv.data import cifar10
from pdoconv.measure import multiply_adds
from pdoconv.recipes import Cifar10
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.provenance import default_precision, provenance
from pdoconv.training.run import train

SYSTEMS: dict[str, tuple[str, dict[str, Any]]] = {
    "z2": ("Z2, 3x3", {"network_name": "z2-resnet26", "widths": (16, 32, 64)}),
    "p4": ("PDO-eConv, p4", {"group": "p4", "filters": "gaussian", "widths": (7, 13, 27)}),
    "p8": ("PDO-eConv, p8", {"group": "p8", "filters": "gaussian", "widths": (5, 9, 19)}),
}
"""Title, and what is not as in the recipe."""
IMAGES = 64  # of the validation split, for the invariance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=list(SYSTEMS))
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/cifar"))
    parser.add_argument("--max-time", type=float, help="minutes for each run of this call; the same call goes on")
    parser.add_argument("--result", default="results/cifar-narrow.json", help="'' for none")
    asked = parser.parse_args()
    for name in asked.systems:
        title, config = SYSTEMS[name]
        print(f"{title}: {asked.epochs} epochs", file=sys.stderr, flush=True)
        settings = Cifar10(epochs=asked.epochs, units=1, precision=default_precision(), **config)
        finish(settings, asked.runs / name / f"epochs{asked.epochs}", asked.max_time)
    if asked.result:
        content = collect(asked.runs, asked.epochs)
        write_json(Path(asked.result), content)
        draw(content, Path(asked.result).with_suffix(".png"))
        for row in content["rows"]:
            print(row["title"], row["parameters"], f"{row['test_error_percent']:.2f}%", f"{row['minutes']:.0f} minutes")


def finish(settings: Cifar10, run: Path, minutes: float | None) -> None:
    folder = RunFolder(run)
    if folder.result.exists():
        return
    if train("cifar10", settings, run, resume=folder.config.exists(), max_minutes=minutes) is None:
        sys.exit("Stopped in time: the same command goes on.")


def collect(runs: Path, epochs: int) -> dict[str, Any]:
    rows = []
    for name, (title, _) in SYSTEMS.items():
        run = runs / name / f"epochs{epochs}"
        if not (run / "result.json").exists():
            continue
        result = json.loads((run / "result.json").read_text())
        rows.append(
            {
                "system": name,
                "title": title,
                "parameters": result["parameters"],
                "multiply_adds": multiply_adds(RunFolder(run).load_model()[0], (3, 32, 32)),
                "test_error_percent": result["test_error_percent"],
                "valid_error_percent": result["valid_error_percent"],
                "valid_error_by_epoch": curve(run),
                "test_images": result["test_images"],
                "minutes": result["train_seconds"] / 60,
                "quarter_turn": invariance(run),
                "settings": result["settings"],
                "commit": result["commit"],
                "data_sha256_16": result["data_sha256_16"],
                "selection": result["selection"],
            }
        )
    return {"epochs": epochs, "rows": rows, **provenance()}


def curve(run: Path) -> list[float]:
    """Return the validation error after every epoch, in percent."""
    errors: dict[int, float] = {}
    for file in sorted(run.glob("logs/*/metrics.csv")):
        with file.open() as lines:
            for line in csv.DictReader(lines):
                if line.get("valid_accuracy"):
                    errors[int(line["epoch"])] = round(100 * (1 - float(line["valid_accuracy"])), 3)
    return [errors[epoch] for epoch in sorted(errors)]


def invariance(run: Path) -> float:
    """Return the relative change of the logits when images are turned by a quarter, in float64."""
    net, mean, std = RunFolder(run).load_model()
    x = (torch.from_numpy(cifar10().valid.images[:IMAGES]).double() - mean) / std
    with torch.no_grad():
        y, turned = net.double()(x), net(x.rot90(1, (2, 3)))
    return float((turned - y).norm() / y.norm())


def draw(content: dict[str, Any], path: Path) -> None:
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in content["rows"]:
        errors = row["valid_error_by_epoch"]
        label = f"{row['title']}: {row['parameters']:,} parameters, test {row['test_error_percent']:.1f}%"
        axes.plot(range(1, len(errors) + 1), errors, marker="o", label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("validation error, percent")
    axes.set_xticks(range(1, content["epochs"] + 1))
    axes.set_ylim(0, 10 * math.ceil(max(max(r["valid_error_by_epoch"]) for r in content["rows"]) / 10))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
