r"""What is observed of a clean image: noise, blur, missing pixels, a colour mosaic; and the edge map to find in it.

Images are float tensors `(batch, channels, height, width)` in [0, 1]. Whatever is not random commutes exactly with
quarter turns and flips; Gaussians make it isotropic at the other angles too.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

SCALES = (16.0, 8.0, 4.0, 2.0, 1.0)  # widths of the Gaussians that fill unknown pixels, coarse to fine
TRUST = 0.01  # weight of the coarser scale; one known pixel outweighs it within 2.3 pixels at the finest
CONTRAST = 0.05  # gradient, per pixel, at which the edge map is one half


def noise(clean: Tensor, sigma: float, generator: torch.Generator | None = None) -> Tensor:
    """Add white Gaussian noise; nothing is clipped, so values leave [0, 1].

    Args:
        clean: `(batch, channels, height, width)`.
        sigma: Standard deviation in units of 1/255: 25 means 25/255.
        generator: Of the noise; the same state gives the same noise in every dtype.

    Raises:
        ValueError: If `sigma` is negative or not finite, or `clean` is not such a float tensor.
    """
    _check(clean, "noise")
    if not 0 <= sigma < float("inf"):
        raise ValueError(f"noise: expected sigma >= 0 in units of 1/255, received {sigma}.")
    device = clean.device if generator is None else generator.device
    drawn = torch.randn(clean.shape, generator=generator, device=device, dtype=torch.float32)
    return clean + drawn.to(clean.device, clean.dtype) * (sigma / 255)


def blur(clean: Tensor, sigma: float = 1.5) -> Tensor:
    r"""Convolve with the Gaussian $e^{-|x|^2 / 2 \sigma^2}$, cut at 4 sigma and normalised; images are reflected.

    Args:
        clean: `(batch, channels, height, width)`.
        sigma: Standard deviation in pixels.

    Raises:
        ValueError: If `sigma` is not positive, an image is no larger than the Gaussian's reach, or `clean` is not such
            a float tensor.
    """
    _check(clean, "blur")
    taps = _gaussian(clean, sigma, "blur")
    return _separable(clean, taps, taps, "blur")


def mask(shape: Sequence[int], keep: float = 0.2, generator: torch.Generator | None = None) -> Tensor:
    """Draw which pixels are known, each by itself: 1 known, 0 unknown; the observed image is `clean * mask`.

    Args:
        shape: Of the images, `(batch, channels, height, width)`; a pixel is known in all channels or in none.
        keep: Probability of a pixel to be known.
        generator: Of the mask, which is made on its device.

    Returns:
        `(batch, 1, height, width)`, float32.

    Raises:
        ValueError: If `shape` has not four sides or `keep` is not in (0, 1].
    """
    if len(shape) != 4 or not 0 < keep <= 1:
        raise ValueError(
            f"mask: expected a shape (batch, channels, height, width) and 0 < keep <= 1, received {tuple(shape)} and "
            f"{keep}."
        )
    device = "cpu" if generator is None else generator.device
    drawn = torch.rand((shape[0], 1, *shape[2:]), generator=generator, device=device, dtype=torch.float32)
    return (drawn < keep).to(torch.float32)


def bayer(clean: Tensor) -> tuple[Tensor, Tensor]:
    """Keep one colour a pixel, in the pattern RGGB: red at even rows and columns, blue at odd ones, green elsewhere.

    On odd sides the pattern itself is symmetric: turning the image turns the mosaic, exactly. On even sides a turn
    leaves another pattern (such as GRBG).

    Args:
        clean: `(batch, 3, height, width)` in red, green, blue.

    Returns:
        The observed values, 0 where nothing was measured, and the mask of what was measured, both
        `(batch, 3, height, width)`.

    Raises:
        ValueError: If `clean` is not such a float tensor.
    """
    _check(clean, "bayer")
    if clean.shape[1] != 3:
        raise ValueError(f"bayer: expected three channels (red, green, blue), received {clean.shape[1]}.")
    known = torch.zeros_like(clean)
    for channel, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)):
        known[:, channel, row::2, column::2] = 1
    return clean * known, known


def fill(observed: Tensor, known: Tensor) -> Tensor:
    r"""Estimate unknown pixels by Gaussian means of known ones (normalised convolution, Knutsson and Westin, 1993).

    From the mean of all known pixels on, through narrower Gaussians $G$: with the estimate $v$ of the coarser scale,
    $(G * (m u) + \epsilon v) / (G * m + \epsilon)$. So far holes are filled from afar, and near ones from nearby. Known
    pixels keep their values, constants stay constant.

    Args:
        observed: `(batch, channels, height, width)`; values at unknown pixels do not matter.
        known: 1 at known pixels, 0 elsewhere, of the same shape or with one channel for all.

    Raises:
        ValueError: If shapes do not fit, `known` has other values, or in some channel no pixel is known.
    """
    _check(observed, "fill")
    if known.shape not in (observed.shape, (len(observed), 1, *observed.shape[2:])):
        raise ValueError(
            f"fill: expected a mask of the image's shape {tuple(observed.shape)} or with one channel, received "
            f"{tuple(known.shape)}."
        )
    if not ((known == 0) | (known == 1)).all():
        raise ValueError("fill: expected a mask of 1 (known) and 0 (unknown), received other values.")
    if not (known != 0).flatten(2).any(2).all():
        raise ValueError("fill: expected known pixels in every image and channel, received a mask that has none there.")
    measured = (known != 0).expand_as(observed)
    weights = measured.to(observed.dtype)
    values = torch.where(measured, observed, 0)
    estimate = (values.sum((2, 3), keepdim=True) / weights.sum((2, 3), keepdim=True)).expand_as(observed)
    for sigma in SCALES:
        down, across = (_spread(side, sigma).to(observed) for side in observed.shape[2:])
        total, weight = down @ values @ across, down @ weights @ across  # nothing is known outside the image
        estimate = (total + TRUST * estimate) / (weight + TRUST)
    return torch.where(measured, observed, estimate)


def edges(clean: Tensor, sigma: float = 1.0) -> Tensor:
    r"""Map edges: $g^2 / (g^2 + k^2)$ of the slope $g = |\nabla G_\sigma * u|$; no orientation is preferred.

    k is 0.05 per pixel: a step of that height times $\sigma \sqrt{2 \pi}$, 0.13 for sigma 1, has one half.

    Args:
        clean: `(batch, channels, height, width)`; squared gradients of channels are summed.
        sigma: Standard deviation of the Gaussian in pixels.

    Returns:
        `(batch, 1, height, width)` in [0, 1).

    Raises:
        ValueError: As for `blur`.
    """
    _check(clean, "edges")
    taps = _gaussian(clean, sigma, "edges")
    x = torch.arange(len(taps), dtype=torch.float64, device=clean.device) - len(taps) // 2
    slope = taps.double() * x
    slope = (slope / (slope * x).sum()).to(clean.dtype)  # a ramp of slope 1 gives 1
    across, along = _separable(clean, taps, slope, "edges"), _separable(clean, slope, taps, "edges")
    squared = (across.square() + along.square()).sum(1, keepdim=True)
    return squared / (squared + CONTRAST**2)


def _gaussian(like: Tensor, sigma: float, who: str) -> Tensor:
    """Return the taps of a Gaussian, made in float64 and cut at 4 sigma."""
    if not 0 < sigma < float("inf"):
        raise ValueError(f"{who}: expected sigma > 0 in pixels, received {sigma}.")
    reach = int(4 * sigma + 0.5)
    x = torch.arange(-reach, reach + 1, dtype=torch.float64, device=like.device)
    line = torch.exp(-(x**2) / (2 * sigma**2))
    return (line / line.sum()).to(like.dtype)


def _spread(side: int, sigma: float) -> Tensor:
    """Return the whole Gaussian between all pixels of a line, `(side, side)`: quicker than long convolutions."""
    x = torch.arange(side, dtype=torch.float64)
    return torch.exp(-((x - x[:, None]) ** 2) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))


def _separable(x: Tensor, rows: Tensor, columns: Tensor, who: str) -> Tensor:
    """Correlate the reflected image with `rows` down and `columns` across."""
    reach, channels = len(rows) // 2, x.shape[1]
    if min(x.shape[2:]) <= reach:
        raise ValueError(
            f"{who}: the Gaussian reaches {reach} pixels: expected larger images, received {tuple(x.shape)}: use a "
            f"smaller sigma."
        )
    x = F.pad(x, [reach] * 4, mode="reflect")
    x = F.conv2d(x, rows[:, None].expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(x, columns.expand(channels, 1, 1, -1), groups=channels)


def _check(x: Tensor, who: str) -> None:
    if x.dim() != 4 or not x.is_floating_point():
        raise ValueError(
            f"{who}: expected a float tensor (batch, channels, height, width) in [0, 1], received {x.dtype} "
            f"{tuple(x.shape)}."
        )
