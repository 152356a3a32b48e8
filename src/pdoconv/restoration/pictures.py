"""Which pictures a task is trained, chosen and tested on, and what is observed of each."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pdoconv.data import as_image, picture_hash, pictures, synthetic, text
from pdoconv.data.pictures import Picture
from pdoconv.pde.tasks import Observation, Task

STANDARD = ("set12", "bsd68")
MADE = ("demosaick", "text")
"""Tasks that the standard gray sets say nothing about: they always have made pictures."""
HELD_OUT = 12  # training pictures that are kept for validation
CHOICE, CROP = 12, 128  # training pictures for the parameters of the baselines, and the side of their central crops
COUNTS = {"training": 200, "validation": HELD_OUT, "test": 24}
"""Made pictures."""
SIDE = 160  # of a made picture


@dataclass(frozen=True)
class Pictures:
    """Clean pictures, none of them in two parts.

    Attributes:
        training: To train on.
        validation: Looked at during training; nothing is chosen by them.
        tests: Read once a system, by the name of the set.
        title: What they were trained on, for the record.
    """

    training: list[Picture]
    validation: list[Picture]
    tests: dict[str, list[Picture]]
    title: str

    def choice(self) -> list[Picture]:
        """Return central crops of training pictures, for parameters of baselines."""
        return [_centre(picture, CROP) for picture in self.training[:CHOICE]]


def load(task: Task, sets: Sequence[str] = STANDARD, root: str | None = None) -> Pictures:
    """Load what a task needs.

    Args:
        task: The task; some have made pictures alone.
        sets: `"set12"`, `"bsd68"` (training on Train400), or only `"synthetic"`.
        root: Data folder, as of `pdoconv.data.pictures`.

    Raises:
        FileNotFoundError: If the file of a standard set is missing.
        ValueError: If a set is unknown, or made and standard ones are mixed.
    """
    if task.name in MADE:
        sets = ("synthetic",)
    if not sets or (set(sets) != {"synthetic"} and not set(sets) <= set(STANDARD)):
        raise ValueError(
            f"Expected test sets out of {', '.join(STANDARD)}, or 'synthetic' alone, received "
            f"{', '.join(sets) or 'none'}."
        )
    if "synthetic" in sets:
        made = {part: _made(task, count, seed) for seed, (part, count) in enumerate(COUNTS.items(), 1)}
        training, validation, tests = made["training"], made["validation"], {"synthetic": made["test"]}
        name = f"{len(training)} made pictures"
    else:
        whole = pictures("train400", root)
        training, validation = whole[:-HELD_OUT], whole[-HELD_OUT:]
        tests = {name: pictures(name, root) for name in dict.fromkeys(sets)}
        name = f"train400 but the last {HELD_OUT}"
    return Pictures(training, validation, tests, f"{name}, {picture_hash(training)}")


def observe(task: Task, picture: Picture, name: str) -> tuple[Tensor, Observation]:
    """Return a clean image and what is observed of it, which depends on the picture and a name alone.

    >>> from pdoconv.pde.tasks import task
    >>> one, two = (observe(task("denoise"), np.zeros((8, 8), np.uint8), name)[1][0] for name in ("a 1", "a 1"))
    >>> bool((one == two).all())
    True
    """
    return observe_image(task, as_image(picture), name)


def observe_image(task: Task, clean: Tensor, name: str) -> tuple[Tensor, Observation]:
    """Do the same for an image `(1, channels, H, W)`: the same name is the same noise."""
    return clean, task.observe(clean, torch.Generator().manual_seed(zlib.crc32(name.encode())))


def made_picture(task: Task, side: int) -> Picture:
    """Return one picture that is in no set."""
    return _made(task, 1, 99, side)[0]


def _made(task: Task, count: int, seed: int, side: int | None = None) -> list[Picture]:
    side = side or SIDE
    if task.name != "text":
        return synthetic(count, side, seed, channels=task.channels)
    scenes = text(count, side, seed)
    both = torch.cat([scenes.images, scenes.confidence, torch.zeros_like(scenes.images)], 1)
    return [np.rint(p * 255).astype(np.uint8) for p in both.permute(0, 2, 3, 1).numpy()]


def _centre(picture: Picture, side: int) -> Picture:
    top, left = (max(0, (length - side) // 2) for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]
