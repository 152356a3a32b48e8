"""Pictures of what the package measures (matplotlib, without a display)."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from torch import Tensor


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def learning_curve(logs: Sequence[Path], picture: Path) -> None:
    """Draw loss and error against epochs, from the CSV logs of a run and of its resumed parts.

    Args:
        logs: CSV files with columns `epoch`, `train_loss`, `train_accuracy` and, where measured, `valid_*`.
        picture: File to write, as PNG.
    """
    values: dict[str, dict[int, float]] = {}
    for log in logs:
        with log.open(newline="") as file:
            for row in csv.DictReader(file):
                for key, value in row.items():
                    if value and key.startswith(("train_", "valid_")):
                        values.setdefault(key, {})[int(row["epoch"]) + 1] = float(value)
    figure = _figure(8, 3.2)
    left, right = figure.subplots(1, 2)
    for name, colour in (("train", "tab:blue"), ("valid", "tab:orange")):
        if f"{name}_loss" in values:
            loss, accuracy = values[f"{name}_loss"], values[f"{name}_accuracy"]
            label = {"train": "training (with dropout)", "valid": "validation"}[name]
            left.plot(list(loss), list(loss.values()), color=colour, label=label)
            right.plot(list(accuracy), [100 * (1 - a) for a in accuracy.values()], color=colour, label=label)
    for axes, title in ((left, "cross-entropy"), (right, "error, %")):
        axes.set(xlabel="epoch", title=title, yscale="log")
        axes.grid(True, which="both", alpha=0.3)
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(picture, format="png")


AXES = {
    "angle": "rotation, degrees",
    "frequency": "frequency, radians per pixel",
    "size": "grid points a side",
    "depth": "layer",
}
"""Labels of what an error is drawn against."""


def error_panels(panels: Mapping[str, Mapping[str, Mapping[Any, float]]], picture: Path, *, title: str) -> None:
    """Draw equivariance errors, a panel for each thing they were measured against.

    Args:
        panels: For `"angle"`, `"frequency"`, `"size"` or `"depth"`, curves by label, errors by place.
        picture: File to write.
        title: Heading.
    """
    figure = _figure(4.6 * len(panels), 3.8)
    figure.suptitle(title)
    for axes, (panel, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        for label, errors in curves.items():
            places = [str(x) if panel == "depth" else x for x in errors]
            marker = "o" if len(places) < 40 else ""
            shown = [max(e, 1e-9) for e in errors.values()]
            axes.plot(places, shown, marker=marker, markersize=3, linewidth=1.2, label=label)
        axes.set(xlabel=AXES[panel], yscale="log")
        if panel in ("frequency", "size"):
            axes.set_xscale("log")
        if panel == "size":
            sizes = [x for errors in curves.values() for x in errors]
            axes.set_xticks(sizes, [str(x) for x in sizes])
            axes.minorticks_off()
        elif panel == "angle":
            axes.set_xticks(range(0, 361, 90))
        axes.grid(True, alpha=0.3)
        axes.legend(frameon=False, fontsize=7)
    figure.axes[0].set_ylabel("relative error (floor 1e-9)")
    figure.savefig(picture)


def vector_field(axes: Axes, image: Tensor, vectors: Tensor, *, step: int = 3, margin: int = 0) -> None:
    """Draw vectors on an image as arrows of true direction and length, from every few pixels.

    Args:
        axes: Where to draw; its coordinates become pixels from the centre, y up.
        image: `(height, width)`, brightness in 0..1.
        vectors: `(2, height, width)` in pixels, components (x right, y up).
        step: Pixels from arrow to arrow.
        margin: Pixels at the border without arrows.
    """
    height, width = image.shape
    axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=1.6, extent=(-width / 2, width / 2, -height / 2, height / 2))
    rows, columns = (np.arange(margin, side - margin, step) for side in (height, width))
    x, y = np.meshgrid(columns - (width - 1) / 2, (height - 1) / 2 - rows)
    u, v = vectors[:, rows][:, :, columns].numpy()
    axes.quiver(x, y, u, v, angles="xy", scale_units="xy", scale=1, color="tab:orange", width=0.008)
    axes.set(xticks=[], yticks=[])


def comparison_scatter(systems: Mapping[str, tuple[int, Sequence[float]]], picture: Path, *, title: str) -> None:
    """Draw test errors against numbers of parameters.

    Args:
        systems: Parameters and the error in percent of every run, by name.
        picture: File to write.
        title: Heading.
    """
    figure = _figure(7.5, 4.5)
    axes = figure.subplots()
    means = {name: (parameters, sum(errors) / len(errors)) for name, (parameters, errors) in systems.items()}
    for place, (name, (parameters, errors)) in enumerate(systems.items()):
        mean = means[name][1]
        axes.plot([parameters] * len(errors), errors, "_", color=f"C{place}", markersize=9)
        axes.plot(parameters, mean, "o", color=f"C{place}", markersize=5)
        crowded = any(p > parameters and abs(np.log(e / mean)) < 0.05 for p, e in means.values())  # on its right
        shift, side = ((-6, -3), "right") if crowded else ((6, -3), "left")
        axes.annotate(name, (parameters, mean), xytext=shift, textcoords="offset points", fontsize=7, ha=side)
    axes.set(xlabel="parameters", ylabel="test error, %", title=title, xscale="log", yscale="log")
    axes.margins(x=0.2)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.grid(True, which="both", alpha=0.3)
    figure.savefig(picture)


def comparison_curves(curves: Mapping[str, Mapping[float, float]], picture: Path, *, title: str) -> None:
    """Draw relative errors against the angle of a rotation in degrees, a curve for each system.

    Args:
        curves: Errors by angle, by name.
        picture: File to write.
        title: Heading.
    """
    figure = _figure(8.5, 4.5)
    axes = figure.subplots()
    for place, (name, errors) in enumerate(curves.items()):
        style = ("-", "--")[place // 10 % 2]
        axes.plot(list(errors), [max(e, 0.02) for e in errors.values()], style, marker="o", markersize=2.5, label=name)
    axes.set(xlabel="rotation, degrees", ylabel="relative change (floor 0.02)", title=title, yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, which="both", alpha=0.3)
    figure.legend(loc="outside right center", frameon=False, fontsize=7)
    figure.savefig(picture)
