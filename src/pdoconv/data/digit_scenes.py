"""Scenes with handwritten digits, every pixel labelled, to measure segmentation on orientations not seen in training.

Digits of MNIST lie on pictures of dead leaves, at most one in each quarter of a scene. They are upright, or each is
turned by an angle of its own. Every digit is sampled once, from its original, by bilinear interpolation, also the
upright ones, which are a few degrees off: both kinds are equally sharp. The pictures behind are never turned.

6 and 9 are one class, as turned ones cannot be told apart.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pdoconv.data.files import array_hash, data_root
from pdoconv.data.mnist import mnist
from pdoconv.data.mnist_rot import rotated_parts
from pdoconv.data.scenes import synthetic
from pdoconv.data.splits import Images
from pdoconv.progress import progress

Orientation = Literal["upright", "any"]
Source = Literal["train", "valid", "test"]

CLASSES = ("background", "0", "1", "2", "3", "4", "5", "6 or 9", "7", "8")
"""Names of the labels, in order."""
SIZE, CELL = 64, 32  # pixels of a scene's side, of a quarter's
SHARE = 0.75  # of quarters with a digit
WOBBLE = 10.0  # degrees: upright digits are turned by up to so much, either way
DARK, INK = 0.65, (0.7, 1.0)  # brightest background; brightness of digits
VALID = 5000  # last training digits of MNIST, for validation

_LABELS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 7])  # of the digits 0..9


class Scenes(NamedTuple):
    """Images `(n, 64, 64)` and a label for each pixel `(n, 64, 64)`, uint8."""

    images: Images
    labels: Images

    @property
    def fingerprint(self) -> str:
        """First 16 digits of the sha256 of images and labels."""
        return array_hash(np.stack(self))


@dataclass(frozen=True, eq=False)
class DigitScenes:
    """What scenes consist of, to be drawn with the digits at any angles.

    Attributes:
        backgrounds: `(n, 64, 64)` in [0, 1].
        digits: `(k, 28, 28)` uint8, all digits of all scenes, as MNIST has them.
        labels: `(k,)`, 1 to 9.
        scene: `(k,)`, which scene a digit is in.
        corner: `(k, 2)`, row and column of the digit's upper left pixel.
        ink: `(k,)`, brightness in [0, 1].
        wobble: `(k,)`, radians by which an upright digit is off.
    """

    backgrounds: NDArray[np.float64]
    digits: Images
    labels: NDArray[np.int64]
    scene: NDArray[np.int64]
    corner: NDArray[np.int64]
    ink: NDArray[np.float64]
    wobble: NDArray[np.float64]

    def upright(self, degrees: float = 0.0) -> Scenes:
        """Draw all digits upright, turned by up to 10 degrees, and then by one angle more, counter-clockwise."""
        return self.draw(self.wobble + np.radians(degrees))

    def turned(self, seed: int = 0) -> Scenes:
        """Draw each digit at an angle of its own, uniform over the circle."""
        rng = np.random.Generator(np.random.PCG64([seed, 3]))
        return self.draw(rng.uniform(0, 2 * np.pi, len(self.digits)))

    def draw(self, angles: NDArray[np.float64]) -> Scenes:
        """Draw each digit at an angle `(k,)`, radians, counter-clockwise as displayed.

        A pixel belongs to a digit where at least half of it is ink.
        """
        images, labels = self.backgrounds.copy(), np.zeros(self.backgrounds.shape, np.uint8)
        covers = np.concatenate([*rotated_parts(self.digits, angles), np.empty((0, 28, 28))]) / 255
        for cover, label, scene, (row, column), ink in zip(
            covers, self.labels, self.scene, self.corner, self.ink, strict=True
        ):
            place = (scene, slice(row, row + cover.shape[0]), slice(column, column + cover.shape[1]))
            images[place] += cover * (ink - images[place])
            labels[place][cover >= 0.5] = label
        return Scenes(np.rint(255 * images).astype(np.uint8), labels)


def digit_scenes(
    samples: int, *, source: Source = "train", seed: int = 0, root: str | os.PathLike[str] | None = None
) -> DigitScenes:
    """Choose digits, places and pictures for scenes: the same for the same arguments.

    Args:
        samples: Number of scenes n.
        source: Which digits: the first 55,000 of MNIST's training set, its last 5,000, or MNIST's test set. Each
            source has backgrounds of its own.
        seed: Of everything random.
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If the folder or `mnist.npz` in it is missing.
        ValueError: If an argument is out of range, or the file is not the expected one.
    """
    if samples < 1 or seed < 0 or source not in get_args(Source):
        raise ValueError(
            f"digit_scenes: expected samples >= 1, seed >= 0 and source one of {get_args(Source)}, received "
            f"{samples}, {seed}, {source!r}."
        )
    originals, numbers = _mnist(str(data_root(root)))[source]
    stream = get_args(Source).index(source)
    rng = np.random.Generator(np.random.PCG64([seed, stream]))
    leaves = (synthetic(1, SIZE, seed=3 * (seed * 1_000_003 + k) + stream)[0] for k in range(samples))
    backgrounds = np.stack(list(progress(leaves, total=samples, title="scenes with digits")))
    scene, quarter = np.nonzero(rng.uniform(size=(samples, (SIZE // CELL) ** 2)) < SHARE)
    chosen = rng.integers(len(originals), size=len(scene))
    room = CELL - originals.shape[1]
    corner = np.stack(np.divmod(quarter, SIZE // CELL), 1) * CELL + rng.integers(room + 1, size=(len(scene), 2))
    return DigitScenes(
        np.asarray(backgrounds * (DARK / 255), dtype=np.float64),
        originals[chosen],
        _LABELS[numbers[chosen]],
        scene,
        corner,
        rng.uniform(*INK, len(scene)),
        np.radians(rng.uniform(-WOBBLE, WOBBLE, len(scene))),
    )


@lru_cache(maxsize=1)
def _mnist(folder: str) -> dict[str, tuple[Images, Images]]:
    """Return digits and their numbers by source."""
    (x, y), test = mnist(folder)
    return {"train": (x[:-VALID], y[:-VALID]), "valid": (x[-VALID:], y[-VALID:]), "test": test}
