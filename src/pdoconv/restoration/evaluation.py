"""What a method of restoration is worth: on test pictures, on turned ones, in time.

A method is a function from an observed image and its mask of known pixels, or `None`, to an image. All methods of a
task are given the same observations. The file of an evaluation is written after every picture, and goes on from there.
"""

import json
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdoconv.data import disc, oriented
from pdoconv.data.pictures import Picture
from pdoconv.measure import psnr, ssim
from pdoconv.pde.tasks import Task
from pdoconv.restoration.pictures import Pictures, made_picture, observe, observe_image
from pdoconv.training.folder import write_json

Solve = Callable[[Tensor, Tensor | None], Tensor]

ANGLES = (0.0, 22.5, 45.0)
"""Degrees of turned test pictures, with the same noise at each."""
SIDE = 256  # pixels of the picture that is timed
TIMED = 3
PLATE, PLATE_SIDE = 4, 144  # number of the test picture that is shown, and the side of its central crop
QUARTER = 97  # side of the picture that is turned by 90 degrees; odd, as a mosaic then is symmetric


@torch.no_grad()
def evaluate(solve: Solve, task: Task, data: Pictures, file: Path, made_by: Mapping[str, Any]) -> dict[str, Any]:
    """Measure a method on all test sets, or read what is known.

    Args:
        solve: The method.
        task: What it is to do.
        data: Its test sets are read.
        file: Where to keep what was measured; beside it the crop that is shown.
        made_by: What the numbers depend on: if the file has another, all is measured again.

    Returns:
        `made_by`, `sets`: for each set its pictures' `psnr`, `ssim` and, for denoising, `turned`: PSNR in the disc by
        angle; `seconds` and `quarter_turn`, see the functions of these names.
    """
    known: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    if known.get("made_by") != made_by:
        known = {"made_by": dict(made_by), "sets": {}}
    for name, pictures in data.tests.items():
        rows = known["sets"].setdefault(name, [])
        for place in range(len(rows), len(pictures)):
            rows.append(row(solve, task, pictures[place], f"{name} {place}"))
            write_json(file, known)
    if "seconds" not in known:
        known |= {"seconds": seconds(solve, task), "quarter_turn": quarter_turn(solve, task)}
        write_json(file, known)
    plate = file.with_name("plate.pt")
    if not plate.exists() or torch.load(plate, weights_only=True)["made_by"] != json.dumps(made_by):
        clean, (observed, mask) = plate_pictures(task, data)
        shown = solve(observed, mask).clamp(0, 1)
        torch.save({"made_by": json.dumps(made_by), "restored": shown, "target": task.target(clean)}, plate)
    return known


def row(solve: Solve, task: Task, picture: Picture, name: str) -> dict[str, Any]:
    """Return PSNR and SSIM of one test picture, clipped to [0, 1]; for denoising PSNR of turned ones too."""
    clean, (observed, mask) = observe(task, picture, name)
    restored, target = solve(observed, mask).clamp(0, 1), task.target(clean)
    found: dict[str, Any] = {"psnr": _finite(psnr(restored, target)), "ssim": round(ssim(restored, target).item(), 5)}
    if task.name == "denoise":
        found["turned"] = {f"{angle:g}": turned(solve, task, clean, angle, name) for angle in ANGLES}
    return found


def turned(solve: Solve, task: Task, clean: Tensor, angle: float, name: str) -> float:
    """Return PSNR within the disc that shows the same of a picture at every angle, with the noise of its name."""
    clean, (observed, mask) = observe_image(task, oriented(clean, angle), name)
    inside = disc(clean.shape[-1])
    pair = (solve(observed, mask).clamp(0, 1), task.target(clean))
    return _finite(psnr(*(x[..., inside][:, :, None] for x in pair)))


def loss(rows: Sequence[Mapping[str, Any]], angle: str) -> tuple[float, float]:
    """Return the mean of what PSNR falls by when pictures are turned, and its standard error over pictures, in dB."""
    falls = [row["turned"]["0"] - row["turned"][angle] for row in rows]
    return statistics.mean(falls), statistics.stdev(falls) / math.sqrt(len(falls)) if len(falls) > 1 else math.nan


@torch.no_grad()
def seconds(solve: Solve, task: Task) -> float:
    """Return seconds of one processor core for a picture of 256 x 256: the least of three."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _, (observed, mask) = observe(task, made_picture(task, SIDE), "timed")
        times = []
        for _ in range(TIMED):
            start = time.process_time()
            solve(observed, mask)
            times.append(time.process_time() - start)
            if times[0] > 2:
                break
        return round(min(times), 4)
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def quarter_turn(solve: Solve, task: Task) -> float:
    """Return the largest difference between what is made of a turned observation and the turned result."""
    _, (observed, mask) = observe(task, made_picture(task, QUARTER), "quarter turn")
    upright = solve(observed, mask)
    other = solve(observed.rot90(1, (2, 3)), None if mask is None else mask.rot90(1, (2, 3)))
    return (other - upright.rot90(1, (2, 3))).abs().max().item()


def plate_pictures(task: Task, data: Pictures) -> tuple[Tensor, tuple[Tensor, Tensor | None]]:
    """Return the crop that is shown, clean and observed."""
    pictures = next(iter(data.tests.values()))
    picture = pictures[min(PLATE, len(pictures) - 1)]
    top, left = (max(0, (side - PLATE_SIDE) // 2) for side in picture.shape[:2])
    return observe(task, picture[top : top + PLATE_SIDE, left : left + PLATE_SIDE], "plate")


def _finite(value: Tensor) -> float:
    """Return decibels, at most 100: an exact result has infinitely many, which JSON cannot say."""
    return round(min(value.item(), 100.0), 4)
