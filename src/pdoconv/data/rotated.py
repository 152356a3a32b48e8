r"""The same content at the same sharpness in any orientation, to measure what restoration loses on turned images.

Interpolating an image blurs it, and more at 45 degrees than at 0: a network would be judged on smoother pictures. Here
a fine picture is sampled on a grid of twice its spacing, turned about the centre, each sample a Gaussian mean of the
fine pixels around it. What a Gaussian passes does not depend on the angle, and no angle is special.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.grid import is_lattice_symmetry

Array = NDArray[np.float64]
Places = NDArray[np.int64]

PITCH = 2  # pixels of the fine picture between samples
REACH = 5  # of the Gaussian, in standard deviations


def oriented(image: Tensor, degrees: float, *, sigma: float = 1.0) -> Tensor:
    r"""Sample a fine image on a coarser grid, its content turned counter-clockwise about the centre.

    The value at a place $p$ is $\sum_x w(x - p) u(x) / \sum_x w(x - p)$, $w(x) = e^{-|x|^2 / 2 \sigma^2}$: a wave of
    $\omega$ radians per fine pixel is multiplied by $e^{-\sigma^2 \omega^2 / 2}$ at every angle.

    The result is the largest square whose inscribed `disc` shows the fine image at every angle: judge there. Beyond the
    image, as at the corners of a square turned by 45 degrees, its reflection is shown. Quarter turns are exact.

    Args:
        image: `(batch, channels, height, width)`; of an oblong one the central square is used.
        degrees: Angle, counter-clockwise as displayed.
        sigma: Standard deviation of the Gaussian in pixels of `image`.

    Returns:
        `(batch, channels, side, side)` with side = (smaller side - 1 - 2 * ceil(5 sigma)) // 2, in the dtype of
        `image`, computed in float64.

    Raises:
        ValueError: If `image` is not such a float tensor or too small, or an argument is out of range.
    """
    if image.dim() != 4 or not image.is_floating_point():
        raise ValueError(
            f"oriented: expected a float tensor (batch, channels, height, width), received {image.dtype} "
            f"{tuple(image.shape)}."
        )
    if not (np.isfinite(degrees) and 0.5 <= sigma < float("inf")):
        raise ValueError(f"oriented: expected finite degrees and sigma >= 0.5, received {degrees}, {sigma}.")
    height, width = image.shape[2:]
    fine, reach = min(height, width), int(np.ceil(REACH * sigma))
    side = (fine - 1 - 2 * reach) // PITCH
    if side < 8:
        raise ValueError(
            f"oriented: expected sides of at least {17 + 2 * reach} pixels, received {height} x {width}: use larger "
            f"images."
        )
    top, left = (height - fine) // 2, (width - fine) // 2
    pixels = image[..., top : top + fine, left : left + fine].double().flatten(2)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = np.rint(turn) if is_lattice_symmetry(turn) else turn
    x = PITCH * (np.arange(side) - (side - 1) / 2)
    places = np.stack(np.meshgrid(x, -x), -1) @ turn  # A^-1 p, y up
    centre = (fine - 1) / 2
    column, across = _window(centre + places[..., 0], sigma, reach)
    row, down = _window(centre - places[..., 1], sigma, reach)
    total = torch.zeros(*image.shape[:2], side, side, dtype=torch.float64, device=image.device)
    for i in range(2 * reach + 2):
        for j in range(2 * reach + 2):
            index = _reflected(row + i, fine) * fine + _reflected(column + j, fine)
            weight = torch.as_tensor(down[i] * across[j], device=image.device)
            total += weight * pixels[..., torch.as_tensor(index, device=image.device)]
    return total.to(image.dtype)


def disc(side: int) -> Tensor:
    """Return which pixels of a square lie in its inscribed disc, `(side, side)`, bool.

    >>> disc(4).int().tolist()
    [[0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]
    """
    x = torch.arange(side) - (side - 1) / 2
    return x**2 + x[:, None] ** 2 <= (side / 2) ** 2


def _window(at: Array, sigma: float, reach: int) -> tuple[Places, Array]:
    """Return the first pixel of each window on a line and the weights of its pixels, normalised to sum 1."""
    first = np.floor(at).astype(np.int64) - reach
    away = first + np.arange(2 * reach + 2)[:, None, None] - at
    weights = np.exp(-(away**2) / (2 * sigma**2)) * (np.abs(away) <= reach + 0.5)  # the same window on either side
    return first, weights / weights.sum(0)


def _reflected(index: Places, side: int) -> Places:
    """Fold indices beyond either end back inside; the pixel at the end is not repeated."""
    index = np.abs(index)
    return np.asarray(np.minimum(index, 2 * (side - 1) - index))
