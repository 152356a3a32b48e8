"""Groups as patterns, and how fields of each kind move."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

import pdoconv as pdo
from drawing import style
from drawing.digits import FOUR, digits, turned
from drawing.rings import edges, ring

MARK = np.array([(0, 0), (0.1, 0), (0.1, 0.3), (0.35, 0.3), (0.35, 0.4), (0.1, 0.4), (0.1, 0.62), (0.45, 0.62)])
MARK = np.concatenate([MARK, [(0.45, 0.72), (0, 0.72)]]) * 0.52 + (0.82, 0.05)
"""A letter F, which has no symmetry of its own."""


def groups(file: Path) -> None:
    """Draw what each group makes of one letter: one copy an element."""
    names = ("C4", "C6", "C8", "D4", "D6")
    also = {"C4": "p4", "C6": "p6", "C8": "p8", "D4": "p4m", "D6": "p6m"}
    figure = style.new(9, 2.1)
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        group = pdo.group(name)
        for element, matrix in enumerate(group.matrices):
            mirrored = np.linalg.det(matrix) < 0
            colour = style.BLACK if element == 0 else style.ORANGE if mirrored else style.BLUE
            axes.fill(*(MARK @ matrix.T).T, color=colour, linewidth=0)
        axes.set_aspect("equal")
        axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25))
        axes.set_title(f"{name} = {also[name]}: {group.order} elements", fontsize=9)
        style.bare(axes)
    style.save(figure, file)


def kinds_of_fields(file: Path) -> None:
    """Draw a scalar, a vector, a frequency-2 and a regular field of a digit, upright and turned by 45 degrees."""
    heads = ("scalar: values move", "vector: arrows turn too", "irrep(2): lines", "regular: maps turn, places roll")
    figure = style.new(9, 5)
    grid = figure.subplots(2, 4, width_ratios=(1, 1, 1, 1.25))
    for line, angle in zip(grid, (0, 45), strict=True):
        image = turned(digits()[0][FOUR : FOUR + 1].double(), angle)
        scalar, vector, double = _fields(image)
        style.show(line[0], scalar, cmap="Blues")
        _arrows(line[1], image, vector, 1)
        _arrows(line[2], image, double, 2)
        ring(line[3], image, angle // 45, "")
        line[0].set_ylabel("upright" if angle == 0 else "turned by 45°", fontsize=10)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    style.save(figure, file)


def _fields(image: Tensor) -> tuple[NDArray[np.float64], ...]:
    """Return an invariant map, the gradient, and the field of frequency 2 that second derivatives make."""
    group = pdo.cyclic(8)
    found = [pdo.GroupPool(group.regular(1))(torch.relu(edges()(image)))[0, 0].detach().numpy()]
    for frequency in (1, 2):
        layer = pdo.PDOConv2d(group.trivial(1), group.irrep(frequency), padding=2).double()
        with torch.no_grad():
            layer.weight.zero_()
            layer.weight[..., 0] = 1.0
            found.append(layer(image)[0].numpy())
    return tuple(found)


def _arrows(axes: Axes, image: Tensor, field: NDArray[np.float64], frequency: int) -> None:
    """Draw an arrow every two pixels; of frequency 2 a line without a head, which turns half as fast as the numbers."""
    side = image.shape[-1]
    axes.imshow(image[0, 0], cmap=style.MAPS, vmin=0, vmax=2.5 * float(image.max()))
    places = np.arange(1, side - 1, 2)
    length = np.hypot(*field)
    angle = np.arctan2(field[1], field[0]) / frequency
    rows, columns = np.meshgrid(places, places, indexing="ij")
    keep = length[rows, columns] > 0.12 * length.max()
    rows, columns = rows[keep], columns[keep]
    size, turn = 2.6 * length[rows, columns] / length.max(), angle[rows, columns]
    head = {} if frequency == 1 else {"headwidth": 0, "headlength": 0, "headaxislength": 0}
    arrows = (columns, rows, size * np.cos(turn), size * np.sin(turn))
    pivot = "mid" if frequency == 2 else "tail"
    shape = {"scale_units": "xy", "scale": 1, "width": 0.012, "color": style.BLUE, "pivot": pivot}
    axes.quiver(*arrows, angles="uv", **shape, **head)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")
