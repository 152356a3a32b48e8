"""PDEs on a photograph: evolutions, invariants, and two rows of the talk's table beside what they should be."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from numpy.typing import ArrayLike
from skimage.data import camera
from torch import Tensor

from drawing import style
from drawing.digits import FOUR, digits, turned
from pdoconv import pde
from pdoconv.measure import psnr
from pdoconv.pde import degrade
from pdoconv.pde.invariants import names
from pdoconv.pde.jets import Derivatives
from pdoconv.pde.restore import start
from pdoconv.plot_pde import pretty

CROP = (slice(84, 184), slice(190, 290))  # head and camera


def photograph() -> Tensor:
    """Return part of scikit-image's `camera` (Lav Varshney, CC0), `(1, 1, 100, 100)` in [0, 1]."""
    return torch.from_numpy(camera()[CROP].copy())[None, None].double() / 255


def evolutions(file: Path) -> None:
    """Draw three PDEs at work on a noisy photograph: the heat equation, total variation flow, a learned one."""
    clean = photograph()
    noisy = degrade.noise(clean, 25, torch.Generator().manual_seed(0))
    running = start(noisy, "denoise", sigma=25)
    states = [running.result(state) for state in running.states()]
    share = (0.0, 0.5, 1.0)
    rows = {
        "heat equation": [pde.heat(noisy, 0.5 * t) if t else noisy for t in share],
        "total variation flow": [pde.tv_flow(noisy, 0.08 * t) if t else noisy for t in share],
        "learned PDE": [states[round(t * running.net.steps)] for t in share],
    }
    figure = style.new(4.9, 5.1)
    for line, (name, film) in zip(figure.subplots(3, len(share)), rows.items(), strict=True):
        for axes, image, at in zip(line, film, ("start", "half-way", "end"), strict=True):
            _photo(axes, image[0, 0])
            axes.set_title(f"{at}: {float(psnr(image.clamp(0, 1), clean)):.1f} dB", fontsize=7)
        line[0].set_ylabel(name, fontsize=8)
    style.save(figure, file, colours=28)


def invariant_maps(file: Path) -> None:
    """Draw five differential invariants of a photograph."""
    image = degrade.blur(photograph(), 1.0)
    chosen = (3, 6, 8, 14)
    maps = pde.invariants(image, image, padding="replicate")[0]
    figure = style.new(7.5, 1.9)
    first, *others = figure.subplots(1, 1 + len(chosen))
    _photo(first, image[0, 0])
    first.set_title(r"$\rho$", fontsize=10)
    for axes, j in zip(others, chosen, strict=True):
        values = maps[j].numpy()
        top = float(np.quantile(np.abs(values), 0.98))
        style.show(axes, values, signed=values.min() < 0, top=top)
        axes.set_title(f"{j}: {pretty(names()[j])}", fontsize=10)
    style.save(figure, file, colours=96)


def misprinted_row(file: Path) -> None:
    """Draw row 8 of the table, as it should be and as the slide prints it, of a picture and of the turned picture."""
    image = turned(digits()[0][FOUR : FOUR + 1].double(), 0)
    rows = {"as it should be": _row_8, "as printed": _row_8_printed}
    heads = ("of the picture", "of the turned picture,\nturned back", "difference")
    figure = style.new(6, 4.1)
    grid = figure.subplots(2, 3)
    for line, (name, row) in zip(grid, rows.items(), strict=True):
        here, back = row(image), torch.rot90(row(torch.rot90(image, 1, (-2, -1))), -1, (-2, -1))
        top = float(here.abs().max())
        for axes, values in zip(line, (here, back, back - here), strict=True):
            style.show(axes, values[0, 0], signed=True, top=top)
        error = float((back - here).norm() / here.norm())
        right = error < 1e-9
        text = "0 to rounding" if right else f"{error:.0%} of its size"
        line[2].set_xlabel(text, fontsize=9, color=style.GREEN if right else style.ORANGE)
        line[0].set_ylabel(name, fontsize=9)
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=8)
    style.save(figure, file)


def _row_8(u: Tensor) -> Tensor:
    jet = Derivatives(padding="replicate")(u)
    (x, y), ((xx, xy), (_, yy)) = jet.gradient, jet.hessian
    return x**2 * xx + 2 * x * y * xy + y**2 * yy


def _row_8_printed(u: Tensor) -> Tensor:
    jet = Derivatives(padding="replicate")(u)
    (x, y), ((xx, xy), (_, yy)) = jet.gradient, jet.hessian
    return x**2 * xx**2 + 2 * x * y * xy**2 + y**2 * yy**2


def _photo(axes: Axes, image: ArrayLike) -> None:
    axes.imshow(np.asarray(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
