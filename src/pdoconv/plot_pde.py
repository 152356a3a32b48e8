"""Pictures of restorations: before and after, the evolution as a film strip, coefficients over time."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.pde import LearnedPDE
from pdoconv.pde.invariants import names

Array = NDArray[np.float64]

DPI = 100
GAP, LINE = 12, 18  # pixels between images, and of a line of text
NARROWEST = 230  # pixels that a caption gets
SMALL = 160  # smaller images are enlarged by a whole factor
FILM = 240  # pixels of a side of a picture in a strip
MOST_ROWS = 24


def plate(images: Mapping[str, NDArray[Any] | Tensor], picture: Path) -> None:
    """Draw images side by side, pixel for pixel, each with a caption above it.

    Args:
        images: Arrays `(H, W)` or `(H, W, 3)`, or tensors `(1 or 3, H, W)`, in [0, 1], by caption; a caption may have
            several lines. Small images are enlarged by a whole factor.
        picture: File to write.

    Raises:
        ValueError: If there is no image, or one has another layout.
    """
    shown = {caption: _rgb(image) for caption, image in images.items()}
    if not shown:
        raise ValueError("plate: expected at least one image, received none.")
    _sheet([(list(shown), [_enlarged(image) for image in shown.values()])], picture)


def strip(
    states: Sequence[Mapping[str, NDArray[Any] | Tensor]], picture: Path, times: Sequence[float], *, most: int = 6
) -> None:
    """Draw an evolution as a film: a row for each field, a column for a time; true pixels from the middle.

    The image is shown as it is, clipped to [0, 1]. An indicator that leaves [0, 1] is shown on the scale of its own
    range over all times, which its caption says.

    Args:
        states: Fields by name at each time, as `pdoconv.pde.restore.Running.fields` gives them; the image is last.
        picture: File to write.
        times: Of the states.
        most: Largest number of columns; first and last are among them.

    Raises:
        ValueError: If there are no states, or not as many as times.
    """
    if not states or len(states) != len(times):
        raise ValueError(f"strip: expected a time for each state, received {len(states)} and {len(times)}.")
    last = len(states) - 1  # as many columns as stand at equal distances, if there are such
    equal = [n for n in range(3, most) if last % n == 0]
    places = np.linspace(0, last, min(max(equal, default=most - 1), last) + 1).round().astype(int).tolist()
    rows: list[tuple[list[str], list[Array]]] = []
    rows = []
    for name in reversed(list(states[0])):
        film = [_middle(_rgb(states[i][name])) for i in places]
        low, high = min(float(f.min()) for f in film), max(float(f.max()) for f in film)
        note = pretty(name)
        if name != "O" and (low < 0 or high > 1):
            film = [(f - low) / (high - low) for f in film]
            note = f"{pretty(name)} from {low:.2g} to {high:.2g}"
        captions = [f"t = {times[i]:.3g}" for i in places]
        captions[0] = f"{note}, {captions[0]}"
        rows.append((captions, [_enlarged(f) for f in film]))
    _sheet(rows, picture)


def coefficient_curves(model: LearnedPDE, picture: Path, *, title: str = "") -> None:
    r"""Draw the coefficients over time, $a_j(t)$ and $b_j(t)$: a panel for the rate of each field, a row for each term.

    Coefficients of different invariants have different units, so each row is scaled by its largest absolute value,
    which stands beside it: colours tell how a coefficient changes in time. Of more than 24 invariants the rows of the
    largest values are shown.

    Args:
        model: The PDE. If it has hidden units too, only its linear part is drawn.
        picture: File to write.
        title: Heading.
    """
    values = np.asarray(model.coefficients.detach().double().cpu())
    rates = [*range(model.indicators, model.fields), *range(model.indicators)]
    labels = [pretty(name) for name in names(model.fields, labels=model.labels)]
    largest = np.abs(values).max(0)
    kept = np.sort(np.argsort(-largest.max(0), kind="stable")[:MOST_ROWS])
    figure = Figure(figsize=(1.6 + 3.4 * len(rates), 1.4 + 0.24 * len(kept)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    more = " (linear part)" if model.hidden else ""
    figure.suptitle(title or f"Coefficients over time{more}", fontsize=11)
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    drawn = None
    for axes, i in zip(panels, rates, strict=True):
        scaled = values[:, i, kept].T / np.where(largest[i, kept] > 0, largest[i, kept], 1)[:, None]
        edges = np.linspace(0, model.time, model.steps + 1)
        drawn = axes.pcolormesh(edges, np.arange(len(kept) + 1) - 0.5, scaled, cmap="RdBu_r", vmin=-1, vmax=1)
        axes.set_title(f"rate of {pretty(model.labels[i])}", fontsize=10)
        axes.set_xlabel("t", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_ylim(len(kept) - 0.5, -0.5)
        axes.hlines(np.arange(1, len(kept)) - 0.5, 0, model.time, color="white", linewidth=1.5)
        for row, j in enumerate(kept):
            axes.text(
                1.02, row, f"{largest[i, j]:.2g}", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5
            )
        axes.text(1.02, -0.9, "max", transform=axes.get_yaxis_transform(), va="center", fontsize=7.5, color="gray")
    panels[0].set_yticks(range(len(kept)), [labels[j] for j in kept])
    if drawn is not None:
        bar = figure.colorbar(drawn, ax=list(panels), shrink=0.5, aspect=30, pad=0.02)
        bar.set_label("coefficient / largest of its row", fontsize=8)
        bar.ax.tick_params(labelsize=8)
    figure.savefig(picture)


def pretty(name: str) -> str:
    r"""Return the name of a field or an invariant as a formula of matplotlib's.

    >>> print(pretty("g(rho) H(O) g(rho)"), pretty("tr H(O1)"))
    $\nabla \rho^T H_{O} \nabla \rho$ $\mathrm{tr}\, H_{O_{1}}$
    """

    def symbol(found: re.Match[str]) -> str:
        index = f"_{{{found[2]}}}" if found[2] else ""
        return (r"\rho" if found[1] == "rho" else found[1]) + index

    text = re.sub(r"\b(rho|[A-Zu])(\d*)(?![\w(])", symbol, name)
    if name.startswith("g(") and "H(" in name:
        text = text.replace(" H(", "^T H(", 1)
    text = re.sub(r"g\(([^)]*)\)", r"\\nabla \1", text)
    text = re.sub(r"H\(([^)]*)\)", r"H_{\1}", text)
    return "$" + text.replace(".", r" \cdot ").replace("tr ", r"\mathrm{tr}\, ") + "$"


def _rgb(image: NDArray[Any] | Tensor) -> Array:
    """Return an image as `(H, W, 3)`."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.movedim(0, -1) if image.dim() == 3 else image
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise ValueError(f"Expected an image (H, W), (H, W, 3), or a tensor (C, H, W), received {tuple(image.shape)}.")
    return np.repeat(array, 3 // array.shape[-1], axis=-1).astype(np.float64)


def _enlarged(image: Array) -> Array:
    factor = max(1, -(-SMALL // max(image.shape[:2])))
    return image.repeat(factor, 0).repeat(factor, 1)


def _middle(image: Array) -> Array:
    top, left = (max(0, (side - FILM) // 2) for side in image.shape[:2])
    return image[top : top + FILM, left : left + FILM]


def _sheet(rows: Sequence[tuple[Sequence[str], Sequence[Array]]], picture: Path) -> None:
    """Draw rows of images with captions above them, pixel for pixel."""
    lines = [max(caption.count("\n") + 1 for caption in captions) for captions, _ in rows]
    least = NARROWEST if len(rows) == 1 else 0
    columns = zip(*(images for _, images in rows), strict=True)
    widths = [max(least, *(image.shape[1] for image in column)) for column in columns]
    heights = [max(image.shape[0] for image in images) for _, images in rows]
    width = sum(widths) + GAP * (len(widths) + 1)
    height = sum(heights) + LINE * sum(lines) + GAP * (2 * len(rows) + 1)
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    top = height - GAP
    for (captions, images), count, tall in zip(rows, lines, heights, strict=True):
        left = GAP
        for caption, image, wide in zip(captions, images, widths, strict=True):
            figure.text(left / width, (top - LINE * count) / height, caption, fontsize=9, va="bottom", linespacing=1.25)
            low = top - LINE * count - GAP // 2 - image.shape[0]
            figure.figimage(image.clip(0, 1), left, low, origin="upper")
            left += wide + GAP
        top -= LINE * count + tall + 2 * GAP
    figure.savefig(picture, dpi=DPI)
