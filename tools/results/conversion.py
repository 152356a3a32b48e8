"""Networks converted, segmentation, lower precision, and a stranger's path to a trained network."""

import runpy
from pathlib import Path

from results.page import Data, Page, Results, Section, bullets, sci, span, table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def converted(results: Results) -> Section:
    """Return published networks and their twins."""
    rows = results("convert")["rows"]
    sizes = [abs(row["parameters"][1] / row["parameters"][0] - 1) for row in rows]
    worst = max((row for row in rows if "45 degrees" in row["errors"]), key=lambda row: row["errors"]["45 degrees"])
    return Section(
        "Networks converted by `pdo.convert`",
        f"{len(rows)} networks and their equivariant twins, parameters within {100 * max(sizes):.1f}%: size, work, "
        "relative change of the output under a quarter turn before and after, at 45 degrees where the group has it, "
        "time of an image on one core, ONNX.",
        ["convert"],
        "`make convert`",
        runpy.run_path(str(BENCHMARKS / "convert.py"))["table"](rows),
        caveats=[
            f"**A loss:** an image takes {span((row['slower'] for row in rows), '.1f')} times as long. At equal "
            "parameters a twin does about the order of the group times the work.",
            f"At 45 degrees strides, padding and ReLU dominate: {worst['title']} changes by "
            f"{sci(worst['errors']['45 degrees'])}, as much as its output: it takes patches of 4x4 first.",
            "Random weights and white noise (smooth images at 45 degrees): this is symmetry, not accuracy.",
            "Attention, pixel shuffle and convolutions called as functions are refused; pretrained weights are not "
            "carried over ([how it works](../design/009-convert.md)).",
        ],
    )


def segmentation(results: Results) -> Section:
    """Return U-Nets on scenes of digits."""
    result = results("segmentation")
    rows = result["rows"]
    cells = [
        (
            row["title"],
            f"{row['parameters']:,}",
            f"{row['upright']['mean_iou']:.3f}",
            f"{row['turned']['mean_iou']:.3f}",
            f"{row['train_seconds'] / 60:.0f}",
            sci(row["quarter_turn"]),
        )
        for row in rows
    ]
    settings = rows[0]["runs"][0]["settings"]
    return Section(
        "Segmentation of digits at any angle",
        "Handwritten digits lie on pictures of dead leaves; every pixel is background or one of "
        f"{len(result['classes']) - 1} classes. U-Nets of about equal parameters, {settings['epochs']} epochs on "
        f"{settings['scenes']} scenes with upright digits (one of them with digits at all angles), mean IoU on "
        f"{result['test_scenes']} test scenes.",
        ["segmentation"],
        "`make segmentation`",
        table(("U-Net", "parameters", "mean IoU, upright", "any angle", "minutes", "change by a quarter turn"), cells),
        [("segmentation", "Segmentation of digits at any angle, trained on upright ones")],
        [
            "One run each. Equal parameters and epochs, not equal time: the equivariant networks take several times "
            "as long to train, and at equal time the plain network on all orientations could see several times the "
            "scenes. That was not tried.",
            "4 rotations keep everything at quarter turns and lose between them (the picture).",
            f"In the file's words: {result['selection']}.",
        ],
    )


def precision(results: Results) -> Section:
    """Return lower precision."""
    parts, worth = [], []
    for row in results("precision")["rows"]:
        cells = [
            (
                name,
                f"{found['test_error_percent']:.2f}",
                f"{found['same_class_percent']:.2f}",
                f"{found['speed']:.2g}",
                f"{found['bytes']:,}",
                sci(found["equivariance_error_90"]),
            )
            for name, found in row["precisions"].items()
        ]
        heads = ("precision", "test error %", "same class %", "speed", "bytes", "change by a quarter turn")
        parts += [f"`{row['run']}`, {row['images']:,} test images, batches of {row['batch']}:", table(heads, cells)]
        slow = row["precisions"]["bfloat16, torch"]["speed"]
        worth.append(
            f"bfloat16 in torch runs at {slow:.2g} times the speed here: this processor has no instructions for it."
        )
    return Section(
        "Lower precision",
        "What do bfloat16 and int8 cost, and what do they save? Speeds are ratios to float32 in torch, in turns, one "
        "core.",
        ["precision"],
        "`python benchmarks/precision.py RUN`",
        "\n\n".join(parts),
        caveats=[
            f"**A loss:** {' '.join(worth)} Its errors are those of float32 with every result rounded.",
            "int8 keeps quarter turns to the last bit because whole numbers add alike in any order. One network, one "
            "machine with other work.",
        ],
    )


def stranger(results: Results) -> Section:
    """Return a stranger's path, timed."""
    r = results("stranger")
    cells = [(f"`{step['command']}`", f"{step['seconds']:.0f}") for step in r["commands"]]
    error = r["equivariance_error"]
    facts = [
        f"{sum(r['pictures'].values())} pictures in {len(r['pictures'])} classes: {r['train_images']} for training, "
        f"{r['valid_images']} for validation, {r['test_images']} for the test.",
        f"{r['parameters']:,} parameters, {r['settings']['epochs']} epochs: test error {r['test_error_percent']:.1f}%.",
        f"Outputs change by {sci(error['90'])} of their size at a quarter turn and by {sci(error['45'])} at 45 "
        "degrees (smooth inputs).",
        f"Together {r['seconds'] / 60:.1f} minutes.",
    ]
    return Section(
        "A folder of pictures, five commands",
        "How long does it take from nothing to a trained, measured and exported network? Handwritten digits as PNG "
        "files, in an empty environment. The commands are those of [your own folder](../how-to/own-folder.md).",
        ["stranger"],
        "`python benchmarks/stranger.py`",
        table(("command", "seconds"), cells) + "\n\n" + bullets(facts),
        caveats=[r["network"], f"One seed, easy digits. In the file's words: {r['selection']}."],
    )


def sections(results: Results) -> list[Section]:
    """Return the sections of the page."""
    return [converted(results), segmentation(results), precision(results), stranger(results)]


def finding(results: Results) -> str:
    """Return the main figures."""
    rows: list[Data] = results("convert")["rows"]
    before, after = [row["error_quarter_turn_before"] for row in rows], [row["errors"]["90 degrees"] for row in rows]
    nets = results("segmentation")["rows"]
    shown = "; ".join(
        f"{row['title']} {row['upright']['mean_iou']:.2f} and {row['turned']['mean_iou']:.2f}" for row in nets
    )
    return (
        f"{len(rows)} networks converted: a quarter turn changes outputs by {sci(min(before))} to {sci(max(before))} "
        f"before, at most {sci(max(after))} after, at {span((row['slower'] for row in rows), '.1f')} times the time. "
        f"Segmentation, mean IoU upright and at any angle: {shown}."
    )


PAGE = Page(
    "conversion",
    "Your own network and pictures",
    "Ordinary networks turned into equivariant ones, dense prediction, and what it takes to ship and to begin.",
    sections,
    finding,
)
