r"""How near a restored image is to the clean one: PSNR and SSIM.

Nothing is clipped or rounded here: clip a restored image with `.clamp(0, 1)` before it is judged, and do not round it.
Averages over a set are means of the figures of its images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW, WIDTH = 11, 1.5  # pixels: side and standard deviation of the Gaussian window of SSIM
K1, K2 = 0.01, 0.03


def psnr(restored: Tensor, clean: Tensor) -> Tensor:
    r"""Return the peak signal-to-noise ratio $-10 \log_{10}$ of the mean squared error, for values of peak 1.

    The mean is over all channels and pixels of an image, its rim included.

    Args:
        restored: `(batch, channels, height, width)`.
        clean: Of the same shape, in [0, 1].

    Returns:
        `(batch,)` in dB, float64; infinite for equal images.

    Raises:
        ValueError: If the arguments are not float tensors of one such shape.

    >>> psnr(torch.full((1, 1, 4, 4), 0.6), torch.full((1, 1, 4, 4), 0.5)).round(decimals=3)
    tensor([20.], dtype=torch.float64)
    """
    a, b = _checked(restored, clean, "psnr")
    return -10 * torch.log10((a - b).square().mean((1, 2, 3)))


def ssim(restored: Tensor, clean: Tensor) -> Tensor:
    """Return the structural similarity (Wang, Bovik, Sheikh, Simoncelli, 2004) for values of peak 1.

    Gaussian window of 11 x 11 pixels and standard deviation 1.5, K1 = 0.01, K2 = 0.03, averaged over the windows that
    lie within the image (as the authors' code does, but without its downsampling of large images) and over channels.

    Args:
        restored: `(batch, channels, height, width)`, sides of at least 11 pixels.
        clean: Of the same shape, in [0, 1].

    Returns:
        `(batch,)`, float64, 1 for equal images.

    Raises:
        ValueError: If the arguments are not float tensors of one such shape.
    """
    a, b = _checked(restored, clean, "ssim")
    if min(a.shape[2:]) < WINDOW:
        raise ValueError(f"ssim: expected sides of at least {WINDOW} pixels, received {tuple(a.shape)}.")
    channels = a.shape[1]
    x = torch.arange(WINDOW, dtype=a.dtype, device=a.device) - WINDOW // 2
    line = torch.exp(-(x**2) / (2 * WIDTH**2))
    line = (line / line.sum()).expand(5 * channels, 1, 1, -1)
    moments = F.conv2d(torch.cat([a, b, a * a, b * b, a * b], 1), line, groups=5 * channels)
    moments = F.conv2d(moments, line.transpose(2, 3), groups=5 * channels)
    mean_a, mean_b, aa, bb, ab = moments.chunk(5, 1)
    variances, covariance = aa - mean_a.square() + bb - mean_b.square(), ab - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + K1**2) * (2 * covariance + K2**2)
    likeness = likeness / ((mean_a.square() + mean_b.square() + K1**2) * (variances + K2**2))
    return likeness.mean((1, 2, 3))


def _checked(restored: Tensor, clean: Tensor, who: str) -> tuple[Tensor, Tensor]:
    """Return both in float64: variances are differences of nearly equal numbers."""
    ok = restored.shape == clean.shape and clean.dim() == 4 and restored.is_floating_point()
    if not ok or not clean.is_floating_point():
        raise ValueError(
            f"{who}: expected two float tensors (batch, channels, height, width) of one shape, values in [0, 1], "
            f"received {restored.dtype} {tuple(restored.shape)} and {clean.dtype} {tuple(clean.shape)}."
        )
    return restored.double(), clean.double()
