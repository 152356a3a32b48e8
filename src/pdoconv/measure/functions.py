"""Functions of continuous position, sampled wherever a grid is put: what equivariance is measured on.

A turned picture is then the same function sampled on a turned grid, and no interpolation error enters.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.grid import axis_of

Points = NDArray[np.float64]
Function = Callable[[Points], Tensor]
"""Maps positions `(points, dim)` in pixels (x right, y up) to values `(samples, channels, points)`, float64."""


def grid_points(size: int, dim: int) -> Points:
    """Return the pixel positions `(size ** dim, dim)` of a centred grid, in the order of the flattened array."""
    line = np.arange(size) - (size - 1) / 2
    arrays = np.meshgrid(*[line] * dim, indexing="ij")
    return np.stack([sign * arrays[axis] for axis, sign in map(axis_of, range(dim))], axis=-1).reshape(-1, dim)


def random_waves(samples: int, channels: int, dim: int, *, frequency: float, width: float, seed: int) -> Function:
    r"""Return random smooth functions: sums of eight plane waves under a Gaussian window about the origin.

    Args:
        samples: Number of functions.
        channels: Channels of each.
        dim: Dimension of space.
        frequency: Highest frequency, radians per pixel; uniform in the ball below it.
        width: Width of the window in pixels.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    waves = (samples, channels, 8)
    directions = rng.standard_normal((*waves, dim))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    k = directions * frequency * rng.uniform(size=(*waves, 1)) ** (1 / dim)
    phase, height = rng.uniform(0, 2 * np.pi, waves), rng.standard_normal(waves)
    vectors, phases, heights = (torch.from_numpy(a) for a in (k, phase, height))

    def function(points: Points) -> Tensor:
        places = torch.from_numpy(points)
        total = torch.zeros(samples, channels, len(points), dtype=torch.float64)
        for w in range(waves[-1]):
            total += heights[..., w, None] * torch.cos(vectors[..., w, :] @ places.T + phases[..., w, None])
        return total * torch.exp(-(places**2).sum(1) / (2 * width**2))

    return function


def from_images(images: Tensor, *, blur: float = 1.0) -> Function:
    r"""Return images as functions, blurred by a Gaussian of width $\sigma$.

    $f(p) = \sum_q I_q\, e^{-|p - q|^2 / 2 \sigma^2} / (2 \pi \sigma^2)^{d/2}$ is known in closed form everywhere, and
    smooth enough for a grid (0.7% is left at its highest frequency), which interpolated pixels are not.

    Args:
        images: `(samples, channels, side, ...)`, all sides alike.
        blur: Width sigma of the Gaussian in pixels.
    """
    dim = images.dim() - 2
    if dim < 1 or len(set(images.shape[2:])) != 1:
        raise ValueError(f"Expected images (samples, channels, side, side), all sides alike, received {images.shape}.")
    pixels, values = torch.from_numpy(grid_points(images.shape[-1], dim)), images.detach().cpu().double().flatten(2)
    scale = (2 * math.pi * blur**2) ** (-dim / 2)

    def function(points: Points) -> Tensor:
        pieces = torch.split(torch.from_numpy(points), 1024)
        return torch.cat(
            [scale * values @ torch.exp(-(torch.cdist(pixels, piece) ** 2) / (2 * blur**2)) for piece in pieces], 2
        )

    return function
