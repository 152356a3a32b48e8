r"""Pairs of frames that show clutter of MNIST digits in motion, with the flow between them, in any orientation.

A picture P is a smooth function of the plane: digits on an array, between the pixels a sum of cubic B-splines. With a
flow u, also a function of the plane, frame 1 is P(p) and frame 2 is P(p - u(p)); so frame 2 at p is what frame 1 was
at p - u(p). A rotation A turns all three: frames are read at A^-1 p, and the flow is A u(A^-1 p). No frame is ever
interpolated, and frames at different angles are equally sharp.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pdoconv.data.files import data_root
from pdoconv.data.mnist import mnist
from pdoconv.data.splits import Images
from pdoconv.progress import progress

Part = Literal["train", "valid", "test"]
Array = NDArray[np.float64]

SIDE = 28  # pixels of a digit
SPACING = 17  # pixels of the square cells that have one digit each, at a random place
DRIFT, SPREAD = (2.0, 0.0), 0.7  # mean and standard deviation of the drift in (x, y), pixels
VARIATION, WAVES = 0.7, 4  # standard deviation of the flow within a picture, pixels, and the number of its waves
REACH = 7  # pixels beyond the frame into which flows point


@dataclass(frozen=True)
class FlowPairs:
    """Pairs of frames and the flow between them, float32.

    Attributes:
        frames: `(n, 2, size, size)`, brightness in 0..1.
        flow: `(n, 2, size, size)` in pixels, components (x right, y up): frame 2 at p is frame 1 at p - flow(p).
    """

    frames: Tensor
    flow: Tensor


def flow_pairs(
    samples: int,
    angle: ArrayLike = 0.0,
    *,
    seed: int = 0,
    part: Part = "train",
    size: int = 32,
    root: str | os.PathLike[str] | None = None,
) -> FlowPairs:
    """Make pairs of frames with known flow: the same for the same arguments, but for `angle` turned copies of them.

    At angle 0 the digits are upright and drift to the right, by 2 pixels in the mean.

    Args:
        samples: Number of pairs n.
        angle: Degrees counter-clockwise by which digits and flow are turned: one for all, or `(n,)`.
        seed: Of everything random.
        part: Which digits: the first 50,000 of MNIST's training digits, the other 10,000, or MNIST's test digits.
        size: Pixels of a side.
        root: Data folder with `mnist.npz`, as for `mnist_rot`.

    Raises:
        FileNotFoundError: If `mnist.npz` is missing.
        ValueError: If an argument is out of range, or `mnist.npz` is not the expected file.
    """
    degrees = np.asarray(angle, dtype=np.float64)
    if samples < 1 or seed < 0 or size < 8 or part not in get_args(Part):
        raise ValueError(
            f"flow_pairs: expected samples >= 1, seed >= 0, size >= 8 and part one of {get_args(Part)}, received "
            f"{samples}, {seed}, {size}, {part!r}."
        )
    if degrees.shape not in ((), (samples,)) or not np.isfinite(degrees).all():
        raise ValueError(
            f"flow_pairs: expected a finite angle in degrees, or one for each of {samples} pairs, received an array "
            f"of shape {degrees.shape}: pass a number or an array ({samples},)."
        )
    parts = _parts(samples, degrees, seed, part, size, root)
    shown = progress(parts, total=-(-samples // 250), title="moving digits") if samples > 1000 else parts
    frames, flow = (np.concatenate(arrays).astype(np.float32) for arrays in zip(*shown, strict=True))
    return FlowPairs(torch.from_numpy(frames), torch.from_numpy(flow))


def _parts(
    samples: int, degrees: Array, seed: int, part: Part, size: int, root: str | os.PathLike[str] | None
) -> Iterator[tuple[Array, Array]]:
    """Yield frames and flows of 250 pairs at a time; what is random does not depend on the angles."""
    digits = mnist_digits(part, root)
    cells = int(np.ceil((np.sqrt(2) * size + 2 * REACH) / SPACING))  # a side: turned frames too see digits everywhere
    canvas, count = cells * SPACING + SIDE, cells**2
    rng = np.random.Generator(np.random.PCG64([seed, get_args(Part).index(part)]))
    which = rng.integers(len(digits), size=(samples, count))
    corners = SPACING * np.indices((cells, cells)).reshape(2, -1).T + rng.integers(SPACING, size=(samples, count, 2))
    drift = DRIFT + SPREAD * rng.standard_normal((samples, 2))
    amplitude = VARIATION * np.sqrt(2 / WAVES) * rng.standard_normal((samples, WAVES, 2))
    period, heading, phase = rng.uniform((size, 0, 0), (2 * size, 2 * np.pi, 2 * np.pi), (samples, WAVES, 3)).T
    wave = (2 * np.pi / period * np.stack([np.cos(heading), np.sin(heading)])).T  # (samples, WAVES, 2), rad per pixel
    radians = np.radians(np.broadcast_to(degrees, samples))
    turn = np.stack([np.cos(radians), -np.sin(radians), np.sin(radians), np.cos(radians)], 1).reshape(-1, 2, 2)
    x = np.arange(size) - (size - 1) / 2
    places = np.stack(np.meshgrid(x, -x), -1).reshape(-1, 2)  # (pixels, 2), y up
    for start in range(0, samples, 250):
        now = slice(start, start + 250)
        pictures = clutter(digits[which[now]], corners[now], canvas)
        at = places @ turn[now]  # A^-1 p, since A^-1 is the transpose
        angles = at @ wave[now].transpose(0, 2, 1) + phase.T[now, None]
        flow = drift[now, None] + np.cos(angles) @ amplitude[now]
        frames = np.stack([sample(pictures, at), sample(pictures, at - flow)], 1)
        turned = (flow @ turn[now].transpose(0, 2, 1)).transpose(0, 2, 1)
        yield frames.reshape(-1, 2, size, size), turned.reshape(-1, 2, size, size)


def mnist_digits(part: Part, root: str | os.PathLike[str] | None = None) -> Images:
    """Return the digits of a part of MNIST, `(n, 28, 28)` uint8; no digit is in two parts.

    Raises:
        FileNotFoundError: If `mnist.npz` is missing.
        ValueError: If it is not the expected file.
    """
    source = data_root(root) / "mnist.npz"
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing: put it there, or set PDOCONV_DATA to a folder that has it.")
    (digits, _), (tested, _) = mnist(root)
    return {"train": digits[:50_000], "valid": digits[50_000:], "test": tested}[part]


def clutter(digits: Images, corners: NDArray[np.int64], side: int) -> Array:
    """Lay digits over one another, the brightest on top.

    Args:
        digits: `(n, count, 28, 28)` uint8.
        corners: Row and column of their upper left pixels `(n, count, 2)`.
        side: Pixels of a picture's side.

    Returns:
        Pictures `(n, side, side)` in 0..1.
    """
    pictures = np.zeros((len(digits), side, side), np.uint8)
    for picture, own, places in zip(pictures, digits, corners, strict=True):
        for digit, (row, column) in zip(own, places, strict=True):
            below = picture[row : row + SIDE, column : column + SIDE]
            np.maximum(below, digit, out=below)
    return pictures / 255


def sample(pictures: Array, places: Array) -> Array:
    r"""Read the functions $\sum_{ij} P_{ij}\, \beta(x - x_j)\, \beta(y - y_i)$ with the cubic B-spline $\beta$.

    They are smooth (twice differentiable), and slightly blurred: the spline's standard deviation is 0.58 pixels.

    Args:
        pictures: `(n, side, side)`.
        places: `(n, points, 2)`, (x right, y up) in pixels from the centre.

    Returns:
        Values `(n, points)`.
    """
    side = pictures.shape[1]
    index = (side - 1) / 2 + places * (1, -1)  # column and row
    first = np.clip(np.floor(index).astype(np.int64), 1, side - 3) - 1  # of the four pixels that a spline reaches
    t = np.clip(index - first - 1, 0, 1)  # beyond the rim the value at the rim
    splines = [(1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
    corner = (np.arange(len(pictures))[:, None] * side + first[..., 1]) * side + first[..., 0]
    flat, values = pictures.ravel(), np.zeros(corner.shape)
    for i, rows in enumerate(splines):
        line = sum(columns[..., 0] * flat[corner + i * side + j] for j, columns in enumerate(splines))
        values += rows[..., 1] * line
    return values
