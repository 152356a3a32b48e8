"""The systems that are compared: a row each, with a small configuration and what was published."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pdoconv.filters import default, fourier
from pdoconv.pointgroups import cyclic, dihedral


@dataclass(frozen=True)
class System:
    """A row of the comparison.

    Args:
        title: Name in tables.
        model: Name of the network, for `pdoconv.models.create`.
        config: Its arguments: a small network, 20,000 to 130,000 parameters.
        published: Test error in percent on the original MNIST-rot, parameters and source, of the published network.
        seeds: Trainings in a full comparison.
    """

    title: str
    model: str
    config: Mapping[str, Any] = field(default_factory=dict)
    published: str = "-"
    seeds: int = 1


_E2CNN = {"group": dihedral(8), "restrict": cyclic(8), "widths": (2, 3, 3, 3, 4, 20), "hidden": (48,)}

SYSTEMS: dict[str, System] = {
    "z2cnn": System("Z2CNN", "z2cnn", published="5.03, 22k (Cohen & Welling, 2016)", seeds=3),
    "wrn": System("Wide ResNet, narrow", "wrn-28-10", {"widths": (12, 20, 32), "units": 1, "in_channels": 1}),
    "p4cnn": System("G-CNN, p4", "p4cnn", published="2.28, 25k (Cohen & Welling, 2016)", seeds=3),
    "hexaconv-p6": System(
        "HexaConv, p6",
        "hexaconv-p6",
        {
            "size": 28,
            "radius": 16,
            "domain": "hexagon",
            "layout": "symmetric",
            "in_channels": 1,
            "widths": (6, 8, 13),
            "units": 1,
        },
    ),
    "orn8-align": System(
        "ORN-8, ORAlign",
        "orn8-align",
        {"widths": (4, 8, 12, 16), "hidden": 96, "padding": 1},
        "1.54, 1M (OR-TIPooling, as quoted by Esteves et al., 2018)",
    ),
    "hnet": System("H-Net", "hnet", published="1.69, 33k (Worrall et al., 2017)"),
    "sfcnn": System(
        "SFCNN type, C8",
        "sfcnn",
        {"group": cyclic(8), "widths": (4, 5, 5, 5, 6, 12), "hidden": (48,)},
        "0.714, 6.5M, rotated training images (Weiler et al., 2018)",
        seeds=3,
    ),
    "e2cnn": System("E2CNN, D8 then C8", "e2cnn", _E2CNN, "0.682, D16 then C16 (Weiler & Cesa, 2019)"),
    "roteqnet": System("RotEqNet", "roteqnet", published="1.09, 100k (Marcos et al., 2017)"),
    "ptn-s": System("PTN-S", "ptn-b", {"variant": "S"}, "1.83, 28k; PTN-CNN-B++ 0.89, 254k (Esteves et al., 2018)"),
    "f-conv": System("F-Conv, C8", "pdo-mnist-small", {"filters": fourier(), "fields": 4, "init": "unit"}),
    "pdo-mnist-small": System("PDO-eConv, authors' filters", "pdo-mnist-small", {}, "1.87, 26k (Shen et al., 2020)"),
    "pdo-e2cnn": System("PDO-eConv, layout of E2CNN", "e2cnn", {**_E2CNN, "filters": default(2)}, seeds=3),
    "pdo-gaussian": System("PDO-eConv", "pdo-mnist-small", {"filters": default(2), "fields": 6}, seeds=3),
    "neural-ode": System("Neural ODE", "neural-ode", {"steps": 2}),
    "neural-ode-resnet": System("Neural ODE's residual twin", "neural-ode-resnet"),
    "neural-pde": System("Neural PDE, C8", "neural-pde"),
}
"""Systems by the name that the command line uses."""


def system(name: str) -> System:
    """Return a row by name; `ValueError` for an unknown one."""
    if name not in SYSTEMS:
        raise ValueError(f"Unknown system {name!r}: expected one of {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]
