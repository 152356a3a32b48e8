"""Stencils, turned filters, and how far each family is from turning exactly."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from drawing import style
from pdoconv import operators as ops
from pdoconv import stencils
from pdoconv.filters import FAMILIES
from pdoconv.grid import move
from pdoconv.groups import rotation
from pdoconv.measure import layer_error, stencil_error
from pdoconv.nn import GroupConv2d
from pdoconv.pointgroups import cyclic
from pdoconv.stencils import discretise

SCHEMES = {
    "finite differences": stencils.finite_difference(),
    "isotropic": stencils.isotropic(),
    "Gaussian (default)": stencils.gaussian(),
}


def derivative_stencils(file: Path) -> None:
    """Draw the 5x5 weights of seven derivatives in three schemes."""
    u, v = ops.derivatives(2)
    shown = {"u": u, "v": v, "u²": u**2, "uv": u * v, "u²+v²": u**2 + v**2, "u²v": u**2 * v, "u²v²": u**2 * v**2}
    figure = style.new(9, 4.2)
    grid = figure.subplots(3, len(shown))
    for line, (name, scheme) in zip(grid, SCHEMES.items(), strict=True):
        for axes, operator in zip(line, shown.values(), strict=True):
            style.show(axes, discretise(operator, scheme, 5), signed=True)
        line[0].set_ylabel(name, fontsize=9)
    for axes, name in zip(grid[0], shown, strict=True):
        axes.set_title(name, fontsize=10)
    style.save(figure, file)


def turned_filter(file: Path) -> None:
    """Draw one filter at eight angles: made again of turned derivatives, and its pixels turned by interpolation."""
    u, v = ops.derivatives(2)
    operator = u + 0.6 * u**2 + 0.5 * u * v - 0.35 * u**2 * v
    frames = [rotation(np.pi * k / 4) for k in range(8)]
    upright = discretise(operator, stencils.gaussian(), 5)
    made = [discretise(operator.in_frame(a), stencils.gaussian(), 5) for a in frames]
    pixels = [_interpolated(upright, a) for a in frames]
    top = float(np.abs(upright).max())
    figure = style.new(10, 3.1)
    grid = figure.subplots(2, 8)
    for line, row in zip(grid, (made, pixels), strict=True):
        for axes, kernel in zip(line, row, strict=True):
            style.show(axes, kernel, signed=True, top=top)
            share = (kernel**2).sum() / (upright**2).sum()
            axes.set_xlabel(f"energy {share:.2f}", fontsize=8, color=style.GRAY)
    for k, axes in enumerate(grid[0]):
        axes.set_title(f"{45 * k}°", fontsize=10)
    grid[0, 0].set_ylabel("turned\nderivatives", fontsize=9)
    grid[1, 0].set_ylabel("interpolated\npixels", fontsize=9)
    style.save(figure, file)


def _interpolated(kernel: NDArray[np.float64], frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn the pixels of a kernel by bilinear interpolation."""
    return np.asarray(move(torch.from_numpy(kernel)[None, None], frame)[0, 0])


def error_over_frequency(file: Path) -> None:
    """Draw the error of a turned gradient beside slopes 2 and 4, and of a whole layer, against the frequency."""
    k = np.geomspace(0.05, np.pi / 2, 24)
    figure = style.new(9, 3.9)
    left, right = figure.subplots(1, 2, sharey=True)
    colours = (style.ORANGE, style.GREEN, style.BLUE)
    for (name, scheme), colour in zip(SCHEMES.items(), colours, strict=True):
        errors = stencil_error(ops.adapted(1, 1), scheme, 5, k)
        left.plot(errors.keys(), errors.values(), color=colour, label=name)
    families = {"paper": style.ORANGE, "isotropic": style.GREEN, "gaussian": style.BLUE, "gaussian-raw": style.GRAY}
    for name, colour in families.items():
        errors = _layer_error(name, k)
        right.plot(errors.keys(), errors.values(), color=colour, label=name)
    for slope, at, height in ((2, 0.16, 4e-4), (4, 0.16, 4e-7)):
        x = np.array([at, at * 2.2])
        left.plot(x, height * (x / at) ** slope, ":", color="black", linewidth=1)
        left.text(x[1] * 1.06, height * 2.2**slope, f"slope {slope}", fontsize=8, va="center")
    for axes, title in ((left, "the gradient (u, v)"), (right, "a layer of C8, random weights")):
        axes.set(xscale="log", yscale="log", xlabel="frequency, radians per pixel", title=title, ylim=(1e-9, 2))
        axes.set_xticks([0.05, 0.1, 0.2, 0.4, 0.8, 1.6], ["0.05", "0.1", "0.2", "0.4", "0.8", "1.6"])
        axes.minorticks_off()
        axes.grid(True, alpha=0.3)
        axes.legend(frameon=False, fontsize=8)
    left.set_ylabel("relative error at 45°")
    style.save(figure, file)


def _layer_error(family: str, frequencies: NDArray[np.float64]) -> dict[float, float]:
    """Return the error of a layer of a family at each frequency, with weights as they are drawn."""
    hidden = cyclic(8).regular(4)
    layer = GroupConv2d(hidden, hidden, 5, filters=FAMILIES[family]()).double()
    return layer_error(layer, frequencies)
