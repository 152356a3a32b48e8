"""Handwritten digits, upright or turned by any angle without interpolation."""

import numpy as np
import torch
from torch import Tensor

from pdoconv.data.mnist import mnist
from pdoconv.groups import rotation
from pdoconv.measure.functions import from_images, grid_points

FOUR = 56
"""Place, among the test digits, of the digit in the pictures."""


def digits(part: str = "test") -> tuple[Tensor, Tensor]:
    """Return images in [0, 1], `(n, 1, 28, 28)`, and labels of MNIST's `"train"` or `"test"` part."""
    images, labels = mnist()[("train", "test").index(part)]
    return torch.from_numpy(images)[:, None].float() / 255, torch.from_numpy(labels).long()


def turned(images: Tensor, degrees: float, *, size: int = 28, blur: float = 1.0) -> Tensor:
    """Return images `(n, channels, size, size)` turned counter-clockwise about their centre.

    An image is read as a sum of Gaussians, one a pixel, and that function is sampled on the turned grid: all angles are
    equally sharp.
    """
    function = from_images(images, blur=blur)
    values = function(grid_points(size, 2) @ rotation(np.deg2rad(degrees)))
    return values.reshape(*images.shape[:2], size, size)
