"""The maps of a regular field on a ring: what a rotation does to them."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

import pdoconv as pdo
from drawing import style
from drawing.digits import FOUR, digits, turned

RADIUS, HALF, MIDDLE = 1.42, 0.42, 0.5


def edges() -> pdo.PDOConv2d:
    """Return a layer from an image to one field of C8: the derivative in eight directions, and a little curvature."""
    group = pdo.cyclic(8)
    layer = pdo.PDOConv2d(group.trivial(1), group.regular(1), padding=2, bias=False).double()
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[..., 1], layer.weight[..., 5] = 1.0, 0.25  # of the 13 filters: u, and 2uv
    return layer


def field_of(image: Tensor) -> NDArray[np.float64]:
    """Return the eight maps of a digit behind that layer and a ReLU."""
    with torch.no_grad():
        maps: NDArray[np.float64] = torch.relu(edges()(image))[0].numpy()
    return maps


def ring(axes: Axes, image: Tensor, followed: int, title: str) -> None:
    """Draw an image and around it its maps, map k in direction k; the one that is followed has an orange frame."""
    maps = field_of(image)
    shown = {"vmin": 0, "aspect": "equal"}
    axes.imshow(image[0, 0], cmap=style.MAPS, extent=(-MIDDLE, MIDDLE, -MIDDLE, MIDDLE), vmax=image.max(), **shown)
    _frame(axes, 0, 0, MIDDLE, style.GRAY, 1.0)
    for k, values in enumerate(maps):
        x, y = RADIUS * np.cos(np.pi * k / 4), RADIUS * np.sin(np.pi * k / 4)
        box = (x - HALF, x + HALF, y - HALF, y + HALF)
        axes.imshow(values, cmap="Blues", extent=box, vmax=maps.max(), **shown)
        ours = k == followed
        _frame(axes, x, y, HALF, style.ORANGE if ours else "#bbbbbb", 2.2 if ours else 0.8)
        axes.text(x - HALF + 0.05, y + HALF - 0.05, str(k), fontsize=7, va="top", color=style.GRAY)
    reach = RADIUS + HALF + 0.05
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    axes.set_title(title, fontsize=10)
    style.bare(axes)


def equivariance_ring(file: Path) -> None:
    """A digit and its eight maps upright, and turned by 45 and by 90 degrees."""
    image = digits()[0][FOUR : FOUR + 1].double()
    figure = style.new(10, 3.7)
    angles = {0: "upright", 45: "turned by 45°: one place on", 90: "turned by 90°: two places on"}
    for axes, (angle, title) in zip(figure.subplots(1, 3), angles.items(), strict=True):
        ring(axes, turned(image, angle), angle // 45, title)
    style.save(figure, file)


def _frame(axes: Axes, x: float, y: float, half: float, colour: str, width: float) -> None:
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]) * half
    axes.plot(corners[:, 0] + x, corners[:, 1] + y, color=colour, linewidth=width, solid_joinstyle="miter")
