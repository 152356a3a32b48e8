"""One look for all pictures: figures without a display, colours that everybody can tell apart, small files."""

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

BLUE, ORANGE, GREEN, GRAY, BLACK = "#0072B2", "#D55E00", "#009E73", "#6e6e6e", "#222222"
"""Of Okabe and Ito's palette."""

MAPS, SIGNED = "Greys", "PuOr"
"""Colour maps of what is not negative, and of what has a sign."""


def new(width: float, height: float) -> Figure:
    """Return a figure of so many inches, 150 pixels each."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, file: Path, colours: int = 256) -> None:
    """Write a figure as PNG with a palette, which takes a third of the bytes."""
    raw = io.BytesIO()
    figure.savefig(raw, format="png")
    Image.open(raw).convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(file, optimize=True)


def bare(axes: Axes) -> None:
    """Take away ticks and frame."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def show(axes: Axes, image: ArrayLike, *, signed: bool = False, top: float | None = None, cmap: str = MAPS) -> None:
    """Show an array without axes; `top` is the value of the darkest colour, by default the largest."""
    array = np.asarray(image)
    top = top or float(np.abs(array).max()) or 1.0
    axes.imshow(array, cmap=SIGNED if signed else cmap, vmin=-top if signed else 0, vmax=top)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#bbbbbb")
