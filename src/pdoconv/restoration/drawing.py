"""Pictures of a comparison: quality against size, and what every system made of one picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from pdoconv.measure import psnr

COLUMNS = 5  # of the plate
LABEL = 0.045  # height of a label, of the range of PSNR


def draw(result: Mapping[str, Any], picture: Path, folder: Path) -> list[Path]:
    """Draw PSNR against parameters, and a plate of one test picture's crop; return the files.

    Args:
        result: Of `pdoconv.restoration.compare`.
        picture: `NAME.json` or the like: the files are `NAME-parameters.png` and `NAME-plate.png` beside it.
        folder: That of the comparison's runs, `runs / task`.
    """
    files = [picture.with_name(f"{picture.stem}-{what}.png") for what in ("parameters", "plate")]
    _scatter(result, files[0])
    _plate(result, files[1], folder)
    return files


def _scatter(result: Mapping[str, Any], file: Path) -> None:
    sets, rows = list(result["tests"]), list(result["systems"].values())
    figure = Figure(figsize=(5.5 * len(sets), 4.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(result["title"])
    for axes, name in zip(figure.subplots(1, len(sets), squeeze=False)[0], sets, strict=True):
        gap = LABEL * (max(r["psnr"][name] for r in rows) - min(r["psnr"][name] for r in rows))
        for learned, colour in ((False, "tab:gray"), (True, "tab:blue")):
            free = 0.0  # the least height at which a label meets none below
            for row in sorted((r for r in rows if r["learned"] is learned), key=lambda r: r["psnr"][name]):
                place = (row["parameters"], row["psnr"][name])
                axes.plot(*place, "o" if learned else "s", color=colour, markersize=5)
                height = max(place[1], free)
                axes.annotate(
                    row["title"],
                    place,
                    xytext=(1.02, height) if learned else (4, height),
                    textcoords=axes.get_yaxis_transform() if learned else "data",  # beside the axes
                    fontsize=7,
                    va="center",
                    arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4},
                )
                free = height + gap
        axes.set_xscale("symlog", linthresh=1)
        axes.set(xlabel="parameters", ylabel="mean PSNR, dB", title=name, xlim=(-0.3, 2e5))
        axes.margins(y=0.2)
        axes.grid(True, alpha=0.3)
    figure.savefig(file)


def _plate(result: Mapping[str, Any], file: Path, folder: Path) -> None:
    start = torch.load(folder / "plate.pt", weights_only=True)
    panels: list[tuple[str, Tensor]] = [("clean", start["clean"]), ("observed", start["observed"])]
    shown = []
    for name, row in result["systems"].items():
        kept = torch.load(folder / name / "plate.pt", weights_only=True)
        shown.append((psnr(kept["restored"], kept["target"]).item(), row["title"], kept))
    if shown and not result["restores"]:
        panels.append(("wanted", shown[0][2]["target"]))
    for quality, title, kept in sorted(shown, key=lambda item: item[0]):
        panels.append((f"{title}\n{quality:.2f} dB", kept["restored"]))
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(2.2 * COLUMNS, 2.5 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.axis("off")
    for axes, (title, image) in zip(places, panels, strict=False):
        shape = image[0].clamp(0, 1).permute(1, 2, 0).numpy()
        axes.imshow(shape[..., 0] if shape.shape[2] == 1 else shape, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=7)
    figure.suptitle(result["title"], fontsize=9)
    figure.savefig(file)
