"""The idea at a glance: a digit turned, its maps rolling on a ring, and what two networks make of turned digits."""

import json
from pathlib import Path

import numpy as np
from matplotlib.projections.polar import PolarAxes

from drawing import style
from drawing.digits import FOUR, digits, turned
from drawing.rings import ring

RESULT = Path(__file__).parents[2] / "results" / "turned-digits.json"
"""Written by `python tools/turned_digits.py`."""


def hero(file: Path) -> None:
    """Draw three rings, and the share of turned digits that two networks recognise, both trained on upright ones."""
    image = digits()[0][FOUR : FOUR + 1].double()
    figure = style.new(8.6, 2.95)
    grid = figure.add_gridspec(1, 4, width_ratios=(1, 1, 1, 1.05))
    for place, angle in enumerate((0, 45, 90)):
        axes = figure.add_subplot(grid[place])
        ring(axes, turned(image, angle), angle // 45, "upright" if angle == 0 else f"turned by {angle}°")
    chart = figure.add_subplot(grid[3], projection="polar")
    assert isinstance(chart, PolarAxes)
    _chart(chart)
    style.save(figure, file)


def _chart(axes: PolarAxes) -> None:
    """Draw the share of digits recognised, outwards, against the angle they are turned by, around."""
    content = json.loads(RESULT.read_text())
    around = np.deg2rad([*content["angles"], 360])
    for (name, system), colour in zip(content["systems"].items(), (style.BLUE, style.ORANGE), strict=True):
        shares = [1 - error / 100 for error in system["error_percent"]]
        axes.plot(around, [*shares, shares[0]], color=colour, linewidth=1.8, label=name)
        axes.fill(around, [*shares, shares[0]], color=colour, alpha=0.12, linewidth=0)
    axes.set_theta_zero_location("N")
    axes.set_thetagrids(range(0, 360, 45), [f"{t}°" for t in range(0, 360, 45)], fontsize=7)
    axes.set_rgrids([0.25, 0.5, 0.75, 1.0], ["", "50%", "", "100%"], fontsize=6, angle=112)
    axes.set_ylim(0, 1)
    axes.tick_params(pad=-3)
    axes.grid(alpha=0.35)
    axes.set_title("digits recognised,\ntrained on upright ones", fontsize=9)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.04), ncols=2, frameon=False, fontsize=8)
