"""HexaConv: group convolutions on the hexagonal lattice, p6 and p6m (Hoogeboom, Peters, Cohen, Welling, 2018).

The image is resampled once to axial coordinates; then follows a ResNet-26 with hexagonal kernels of 7 taps on the cells
of the domain. The published networks keep the square image, which has at most half turns and flips of its own, and
their classifier reads all orientations. `domain="hexagon", layout="symmetric"` makes all 60-degree turns of the axial
map exact, from there to the logits.
"""

from typing import Any, Literal

from torch import nn

from pdoconv.filters import hexagonal
from pdoconv.models.resnet import PreActResNet
from pdoconv.nn.hexagonal import HexagonalResample
from pdoconv.pointgroups import cyclic, dihedral


def hexaconv_p6(
    *, size: int = 32, domain: Literal["square", "hexagon"] = "square", radius: int | None = None, **config: Any
) -> nn.Sequential:
    """Return the p6 network: standardised images `(batch, 3, size, size)` to logits `(batch, classes)`.

    Published error on CIFAR-10 without augmentation: 9.98%; Z2 with as many parameters 11.50% (Hoogeboom et al., 2018,
    as quoted by Shen et al., 2020).

    Args:
        size: Height and width of the images.
        domain: `"square"` or `"hexagon"`, see `pdoconv.nn.hexagonal.HexagonalResample`.
        radius: Of the hexagon in cells; default the largest multiple of 4 within half the size.
        **config: Arguments of `PreActResNet` instead of the published ones, such as `classes`, `in_channels`, `layout`.

    Raises:
        ValueError: If an argument is out of range.

    >>> sum(p.numel() for p in hexaconv_p6().parameters())
    336940
    """
    return _hexaconv(size, domain, radius, {"group": cyclic(6), "widths": (8, 14, 28), **config})


def hexaconv_p6m(
    *, size: int = 32, domain: Literal["square", "hexagon"] = "square", radius: int | None = None, **config: Any
) -> nn.Sequential:
    """Return the p6m network; arguments of `hexaconv_p6`.

    Published error on CIFAR-10 without augmentation: 8.64% (Hoogeboom et al., 2018, as quoted by Shen et al., 2020).

    >>> sum(p.numel() for p in hexaconv_p6m().parameters())
    338200
    """
    return _hexaconv(size, domain, radius, {"group": dihedral(6), "widths": (5, 10, 20), **config})


def _hexaconv(
    size: int, domain: Literal["square", "hexagon"], radius: int | None, config: dict[str, Any]
) -> nn.Sequential:
    resample = HexagonalResample(size, domain=domain, radius=radius)
    published = {"units": 4, "filters": hexagonal(), "kernel_size": 3, "bias": True, "eps": 1e-5}
    return nn.Sequential(resample, PreActResNet(**{**published, "domain": resample.domain, **config}))
