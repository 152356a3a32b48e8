"""Pre-activation residual networks, plain and wide, for any group and filter family.

He et al. (2016) put BatchNorm and ReLU before each convolution, Zagoruyko & Komodakis (2016) made such networks wide,
Cohen & Welling (2016) equivariant. With `cyclic(1)` and `filters.rotated()` the networks here are the ordinary ones.
"""

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import Filters, default, pointwise, rotated
from pdoconv.groups import Group
from pdoconv.nn import BatchNorm2d, FieldDropout, GroupConv2d, GroupPool, Sequential
from pdoconv.nn.domain import Domain, DomainBatchNorm2d, as_domain
from pdoconv.pointgroups import cyclic, dihedral

LAYOUTS = ("authors", "symmetric")
Cells = NDArray[np.bool_]


class PreActUnit(nn.Module):
    """A residual unit: BatchNorm, ReLU, convolution, as often as there are convolutions, and a shortcut that is added.

    The shortcut is the input itself, or where width or side change a 1x1 convolution of the pre-activated input. The
    first convolution takes the stride, dropout comes before the last one.

    Args:
        in_type: Type of the input, of regular fields.
        out_type: Type of the output, of regular fields.
        kernel_size: Odd side of the kernels.
        filters: Filter family of the kernels; 1x1 ones of bottlenecks and shortcuts are pointwise.
        stride: Sampling step.
        bottleneck: Convolutions 1x1, k x k, 1x1 with a quarter of the fields in between, instead of two of k x k.
        bias: Of the convolutions.
        dropout: Probability.
        by_field: Drop whole fields, not single numbers.
        domain: Which cells of the input mean something, or `None` for all.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int,
        *,
        filters: Filters,
        stride: int = 1,
        bottleneck: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        by_field: bool = True,
        domain: Cells | None = None,
    ) -> None:
        """Make the layers."""
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        plan = [(in_type, out_type, kernel_size, filters), (out_type, out_type, kernel_size, filters)]
        if bottleneck:
            inner, one = out_type.group.regular(out_type.fields // 4), pointwise()
            plan = [(in_type, inner, 1, one), (inner, inner, kernel_size, filters), (inner, out_type, 1, one)]
        self.preactivation = Sequential(_norm(in_type, domain), nn.ReLU())
        layers: list[nn.Module] = [_conv(*plan[0], bias, stride)]
        for place, (into, out, size, family) in enumerate(plan[1:], start=2):
            layers += [_norm(into, None if domain is None else domain[::stride, ::stride]), nn.ReLU()]
            if dropout and place == len(plan):
                layers.append(FieldDropout(into, dropout) if by_field else nn.Dropout(dropout))
            layers.append(_conv(into, out, size, family, bias))
        self.residual = Sequential(*layers)
        changes = in_type != out_type or stride > 1
        self.shortcut = _conv(in_type, out_type, 1, pointwise(), bias, stride) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, out_channels, height / stride, width / stride)`."""
        active = self.preactivation(x)
        kept = x if self.shortcut is None else self.shortcut(active)
        return cast(Tensor, kept + self.residual(active))


class PreActResNet(nn.Module):
    """A convolution, stages of pre-activation units, BatchNorm, ReLU, mean over space, and a linear classifier.

    The first unit of every stage but the first has stride 2; kernels are padded to keep the side. Of three stages,
    sides 1 above a multiple of 4, such as 29 and 33, keep quarter turns and flips exact (the grid rule). On the
    published 32 they are not exact, and the strided layers say so.

    Layout `"authors"`: the classifier reads the means of all orientations, so invariance is learned; dropout is
    elementwise. Layout `"symmetric"`: it reads the mean of the largest orientation at each place, so no element of the
    group changes the logits, as far as it maps the grid to itself; dropout is by field.

    On a domain, as of the hexagonal lattice, the input is set to zero outside, BatchNorm counts the cells of the domain
    only and leaves the others zero, so that every convolution reads zeros there, and the mean is over its cells. A
    stride keeps every second cell.

    Args:
        group: Group of the plane.
        widths: Regular fields of each stage.
        units: Units of each stage. Three stages have depth 6 units + 2, with bottlenecks 9 units + 2.
        in_channels: Channels of the images.
        classes: Number of classes.
        filters: Filter family; default `pdoconv.filters.default(2, kernel_size)`.
        kernel_size: Odd side of the kernels.
        first: Regular fields of the first convolution; default those of the first stage.
        bottleneck: Units of three convolutions, see `PreActUnit`.
        bias: Of the convolutions. The networks of G-CNN and HexaConv have them, the others do not.
        dropout: Probability, before the last convolution of each unit.
        layout: `"authors"` or `"symmetric"`.
        domain: Which cells of the images mean something, booleans `(height, width)`; default all. Its sides are 1 above
            a multiple of 8 for three stages, so that every stride keeps the centre cell.

    Attributes:
        features: All layers before the mean.
        classifier: The linear classifier.

    Raises:
        ValueError: If an argument is out of range, or an input has another shape.

    >>> from pdoconv import filters
    >>> sum(p.numel() for p in PreActResNet(cyclic(8), filters=filters.paper()).parameters())  # PDO-eConv, ResNet-44
    2621693
    """

    def __init__(
        self,
        group: Group,
        *,
        widths: Sequence[int] = (11, 23, 45),
        units: int = 7,
        in_channels: int = 3,
        classes: int = 10,
        filters: Filters | None = None,
        kernel_size: int = 5,
        first: int | None = None,
        bottleneck: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        layout: Literal["authors", "symmetric"] = "authors",
        domain: ArrayLike | None = None,
    ) -> None:
        """Check the arguments and make the layers."""
        super().__init__()
        _check(widths, units, kernel_size, bottleneck, dropout, layout)
        cells = None if domain is None else _centred(as_domain("PreActResNet", domain), len(widths))
        family, symmetric = filters or default(2, kernel_size), layout == "symmetric"
        self.in_type, field = group.trivial(in_channels), group.regular(widths[0] if first is None else first)
        layers: list[nn.Module] = [] if cells is None else [Domain(cells)]
        layers.append(_conv(self.in_type, field, kernel_size, family, bias))
        for stage, width in enumerate(widths):
            for number in range(units):
                stride, out = 2 if stage and not number else 1, group.regular(width)
                unit = PreActUnit(
                    field,
                    out,
                    kernel_size,
                    filters=family,
                    stride=stride,
                    bottleneck=bottleneck,
                    bias=bias,
                    dropout=dropout,
                    by_field=symmetric,
                    domain=cells,
                )
                layers.append(unit)
                field, cells = out, None if cells is None else cells[::stride, ::stride]
        layers += [_norm(field, cells), nn.ReLU()]
        if symmetric:
            layers.append(GroupPool(field))
        self.features = Sequential(*layers)
        self.classifier = nn.Linear(field.fields if symmetric else field.channels, classes)
        self.cells = None if cells is None else int(cells.sum())

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, in_channels, height, width)` to logits `(batch, classes)`."""
        y = self.features(x)
        return cast(Tensor, self.classifier(y.mean((2, 3)) if self.cells is None else y.sum((2, 3)) / self.cells))


def gcnn_resnet44_p4m(**config: Any) -> PreActResNet:
    """Return the G-CNN ResNet-44 with p4m (Cohen & Welling, 2016): standardised images `(batch, 3, 32, 32)` to logits.

    Published error on CIFAR-10: 6.46% without and 4.94% with augmentation; Z2, widths 32, 64, 128: 9.45% and 5.61%
    (README of the authors' gconv_experiments).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in gcnn_resnet44_p4m().parameters())
    2622878
    """
    published = {"widths": (11, 23, 45), "units": 7, "filters": rotated(), "kernel_size": 3, "bias": True}
    return PreActResNet(**{"group": dihedral(4), **published, **config})


def wrn_28_10(**config: Any) -> PreActResNet:
    """Return the wide residual network WRN-28-10 (Zagoruyko & Komodakis, 2016): `(batch, 3, 32, 32)` to logits.

    Published error on CIFAR-10 with augmentation: 4.00%, with dropout=0.3 3.89% (README of the authors'
    wide-residual-networks, median of 5 runs, images standardised by channel).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones; `group=` and `filters=` make it another.

    >>> sum(p.numel() for p in wrn_28_10().parameters())
    36479194
    """
    published = {"widths": (160, 320, 640), "units": 4, "first": 16, "filters": rotated(), "kernel_size": 3}
    return PreActResNet(**{"group": cyclic(1), **published, **config})


def resnet_1001(**config: Any) -> PreActResNet:
    """Return the pre-activation ResNet-1001 (He et al., 2016): standardised images `(batch, 3, 32, 32)` to logits.

    Units of three convolutions, 111 a stage; `units=18` is ResNet-164. Published error on CIFAR-10 with augmentation:
    4.92%, of ResNet-164 5.46% (README of wide-residual-networks).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones; `group=` and `filters=` make it another.

    >>> sum(p.numel() for p in resnet_1001(units=18).parameters())
    1703258
    """
    published = {"widths": (64, 128, 256), "units": 111, "first": 16, "filters": rotated(), "kernel_size": 3}
    return PreActResNet(**{"group": cyclic(1), "bottleneck": True, **published, **config})


def _conv(
    in_type: FieldType, out_type: FieldType, size: int, filters: Filters, bias: bool, stride: int = 1
) -> GroupConv2d:
    return GroupConv2d(in_type, out_type, size, filters=filters, stride=stride, padding=size // 2, bias=bias)


def _norm(field: FieldType, domain: Cells | None) -> nn.Module:
    return BatchNorm2d(field) if domain is None else DomainBatchNorm2d(field, domain)


def _check(widths: Sequence[int], units: int, kernel_size: int, bottleneck: bool, dropout: float, layout: str) -> None:
    """Raise `ValueError` for what the layers would not name."""
    if len(widths) < 1 or units < 1:
        raise ValueError(
            f"PreActResNet: expected at least 1 stage and 1 unit, received widths={widths}, units={units}."
        )
    if bottleneck and any(width % 4 for width in widths):
        raise ValueError(f"PreActResNet: widths of bottlenecks are multiples of 4, received {tuple(widths)}.")
    if kernel_size % 2 == 0:
        raise ValueError(f"PreActResNet: expected an odd kernel_size, which keeps the side, received {kernel_size}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"PreActResNet: dropout must be in [0, 1), received {dropout}.")
    if layout not in LAYOUTS:
        raise ValueError(f"PreActResNet: layout must be one of {LAYOUTS}, received {layout!r}.")


def _centred(domain: Cells, stages: int) -> Cells:
    """Return a domain whose centre cell every stride keeps, else raise `ValueError`."""
    unit = 2**stages
    if any(side % unit != 1 for side in domain.shape):
        raise ValueError(
            f"PreActResNet: expected a domain with sides 1 above a multiple of {unit}, so that {stages - 1} strides of "
            f"2 keep its centre cell, received {domain.shape}: add false cells around it."
        )
    return domain
