"""How defaults and settings were chosen: filter families, and the settings of the small network."""

import math
import runpy
import statistics
from pathlib import Path

from results.page import Data, Results, Section, span, table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def families(results: Results) -> Section:
    """Return the table of filter families, and what the initialisation costs."""
    result = results("families")
    budget = result["budget"]
    known = {run.get("init", "authors") for run in result["runs"]}
    inits = [
        (init, f"{statistics.mean(errors):.2f}", len(errors))
        for init in sorted(known)
        if (errors := [r["error %"] for r in result["runs"] if is_default(r) and r.get("init", "authors") == init])
    ]
    found: dict[str, list[float]] = {}
    for run in result["runs"]:
        if run.get("init", "authors") == "authors":
            found.setdefault(run["family"], []).append(run["error %"])
    between = [statistics.stdev(errors) for errors in found.values() if len(errors) > 1]
    error = deviation(sorted(statistics.mean(errors) for errors in found.values())[2], 10_000)
    return Section(
        "Which filters should be the default?",
        f"The layout of the small network with each family of filters, at about equal parameters, {budget['epochs']} "
        "epochs on 10,000 images. The error is measured on 10,000 images that are neither training nor test images, "
        "so the choice did not touch the test set. The other columns: share of the energy of 5x5 patches of digits "
        "that the filters pass; relative equivariance error at 45 degrees of one random layer, and of layers of the "
        "trained network on digits.",
        ["families"],
        "`make families`",
        runpy.run_path(str(BENCHMARKS / "families.py"))["table"](result)
        + "\n\nInitialisation of the default family:\n\n"
        + table(("initialisation", "error %", "runs"), inits),
        caveats=[
            f"Where (1) stands behind an error, one seed was trained. One standard error of the best is {error:.2f} "
            f"points; between seeds the standard deviation is {span(between)}. The first three families are not told "
            "apart by these runs.",
            "`gaussian-raw` learns well and is not equivariant between quarter turns.",
            "`isotropic-eleven` has fewer parameters. Seconds are of one core.",
            "What a trained network keeps at 45 degrees is set by ReLU, pooling and padding far more than by the "
            "family ([why the default is what it is](../design/003-stencils.md)).",
        ],
    )


def tuning(results: Results) -> Section:
    """Return how the settings of the small network were chosen."""
    result = results("tuning-mnist-rot-small")
    rows = []
    for run in result["runs"]:
        s = run["settings"]
        valid = run.get("valid_error_percent")
        rows.append(
            (
                s["lr"],
                s["weight_decay"],
                s["dropout"],
                s["label_smoothing"],
                f"{len(run['train_loss'])} of {s['epochs']}",
                f"{valid[-1]:.1f}" if valid else f"- ({run['note']})",
            )
        )
    least = min(run["valid_error_percent"][-1] for run in result["runs"] if "valid_error_percent" in run)
    return Section(
        "How its settings were chosen",
        f"In the file's words: {result['what']}.",
        ["tuning-mnist-rot-small"],
        "runs of `pdoconv train mnist-rot-small`, by hand",
        table(("highest rate", "weight decay", "dropout", "smoothing", "epochs", "validation error %"), rows),
        caveats=[
            f"One seed each, and one standard error is about {deviation(least, 2000):.1f} points: small differences "
            "mean little. The weight decay of the long run was set by argument, not by search ([the "
            "account](../design/002-training.md)).",
            "With the default filters the same settings were used, without any search of their own.",
        ],
    )


def deviation(percent: float, images: int) -> float:
    """Return the standard error of an error in percent that was found on so many images."""
    return math.sqrt(percent * (100 - percent) / images)


def is_default(run: Data) -> bool:
    """Whether a run has the default family."""
    return bool(run["family"] == "gaussian")
