"""The law of a layer and of an ordinary convolution, on a digit."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

import pdoconv as pdo
from drawing import style
from drawing.digits import FOUR, digits, turned
from drawing.rings import edges


def law(file: Path) -> None:
    """Turn, apply, turn back: an ordinary convolution gives something else, eight turned copies give the same."""
    image = turned(digits()[0][FOUR : FOUR + 1].double(), 0)
    plain = nn.Conv2d(1, 1, 5, padding=2, bias=False).double()
    layer = edges()
    with torch.no_grad():
        plain.weight.copy_(layer.kernel()[:1])
    rows = {
        "one filter\n(nn.Conv2d)": lambda x: torch.relu(plain(x)),
        "eight turned copies,\nthe largest answer": lambda x: pdo.GroupPool(layer.out_type)(torch.relu(layer(x))),
    }
    heads = ("picture", "its answer", "picture turned by 90°", "answer to that", "turned back", "difference")
    figure = style.new(10, 3.9)
    grid = figure.subplots(2, 6)
    for line, (name, answer) in zip(grid, rows.items(), strict=True):
        with torch.no_grad():
            here, there = answer(image), answer(_quarter(image))
        back = _quarter(there, -1)
        panels = (image, here, _quarter(image), there, back, back - here)
        for place, (axes, panel) in enumerate(zip(line, panels, strict=True)):
            _panel(axes, panel, place, float(here.max()))
        line[0].set_ylabel(name, fontsize=9)
        error = float((back - here).norm() / here.norm())
        size = f"{error:.0%} of the answer" if error > 1e-3 else "0 to rounding"
        line[5].set_xlabel(size, fontsize=9, color=style.ORANGE if error > 1e-3 else style.GREEN)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=9)
    style.save(figure, file)


def _quarter(x: Tensor, times: int = 1) -> Tensor:
    return torch.rot90(x, times, (-2, -1))


def _panel(axes: Axes, panel: Tensor, place: int, top: float) -> None:
    array = np.asarray(panel[0, 0])
    if place in (0, 2):
        style.show(axes, array)
    else:
        style.show(axes, array, signed=place == 5, top=top, cmap="Blues")
