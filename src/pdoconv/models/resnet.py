"""Pre-activation residual networks, plain and wide, for any group and filter family.

He et al. (2016) put BatchNorm and ReLU before each convolution, Zagoruyko & Komodakis (2016) made such networks wide,
Cohen & Welling (2016) equivariant. With `cyclic(1)` and `filters.rotated()` these are the ordinary ones. Published
networks by name: `pdoconv.models.resnets`.
"""

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch.fx
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import Filters, default, pointwise
from pdoconv.groups import Group
from pdoconv.nn import BatchNorm2d, FieldDropout, GroupConv2d, GroupPool, Sequential
from pdoconv.nn.domain import Domain, DomainBatchNorm2d, as_domain

LAYOUTS = ("authors", "symmetric")
Cells = NDArray[np.bool_]
Init = Literal["unit", "authors"]


class PreActUnit(nn.Module):
    """A residual unit: BatchNorm, ReLU, convolution, as often as there are convolutions, and a shortcut that is added.

    The shortcut is the input itself, or where width or side change a 1x1 convolution of the pre-activated input. The
    first convolution and the shortcut take the stride, or both read means of the pre-activated input. Dropout comes
    before the last convolution.

    Args:
        in_type: Type of the input, of regular fields.
        out_type: Type of the output, of regular fields.
        kernel_size: Odd side of the kernels.
        filters: Filter family of the kernels; 1x1 ones of bottlenecks and shortcuts are pointwise.
        stride: Sampling step, 1 or 2.
        means: Step by means over windows of pixels that lie symmetrically on any side, see `halved`.
        bottleneck: Convolutions 1x1, k x k, 1x1 with a quarter of the fields in between, instead of two of k x k.
        bias: Of the convolutions.
        dropout: Probability.
        by_field: Drop whole fields, not single numbers.
        init: Of the convolutions, see `pdoconv.nn.GroupConv`.
        eps: Of BatchNorm.
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
        means: bool = False,
        bottleneck: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        by_field: bool = True,
        init: Init = "unit",
        eps: float = 1e-5,
        domain: Cells | None = None,
    ) -> None:
        """Make the layers."""
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        plan = [(in_type, out_type, kernel_size, filters), (out_type, out_type, kernel_size, filters)]
        if bottleneck:
            inner, one = out_type.group.regular(out_type.fields // 4), pointwise()
            plan = [(in_type, inner, 1, one), (inner, inner, kernel_size, filters), (inner, out_type, 1, one)]
        self.halves = means and stride == 2
        step = 1 if means else stride
        self.preactivation = Sequential(_norm(in_type, domain, eps), nn.ReLU())
        layers: list[nn.Module] = [_conv(*plan[0], bias, init, step)]
        for place, (into, out, size, family) in enumerate(plan[1:], start=2):
            layers += [_norm(into, None if domain is None else domain[::stride, ::stride], eps), nn.ReLU()]
            if dropout and place == len(plan):
                layers.append(FieldDropout(into, dropout) if by_field else nn.Dropout(dropout))
            layers.append(_conv(into, out, size, family, bias, init))
        self.residual = Sequential(*layers)
        changes = in_type != out_type or stride > 1
        self.shortcut = _conv(in_type, out_type, 1, pointwise(), bias, init, step) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, height, width)` to `(batch, out_channels, height / stride, width / stride)`."""
        active = self.preactivation(x)
        if self.halves:
            active = halved(active)
        kept = x if self.shortcut is None else self.shortcut(active)
        return cast(Tensor, kept + self.residual(active))


def halved(x: Tensor) -> Tensor:
    """Return means over windows, 2 pixels wide along even sides and 3 along odd ones, at every second place.

    Side L becomes L / 2 or (L + 1) / 2, and the windows lie symmetrically about the centre of the image: quarter turns
    and flips stay exact whatever the side. Means over the pixels within the image at its border.

    >>> import torch
    >>> halved(torch.arange(5.0).view(1, 1, 1, 5))
    tensor([[[[0.5000, 2.0000, 3.5000]]]])
    """
    if torch.compiler.is_exporting():
        return _halved_of_any_side(x)
    odd = [side % 2 for side in x.shape[2:]]
    return F.avg_pool2d(x, [2 + o for o in odd], 2, odd, count_include_pad=False)


def _halved_of_any_side(x: Tensor) -> Tensor:
    """Return the same, to rounding, by operations that do not depend on the side: an exported network takes any."""
    for axis in (2, 3):
        pair, triple, border = ([n if axis == a else o for a in (2, 3)] for n, o in ((2, 1), (3, 1), (1, 0)))
        even = F.avg_pool2d(x, pair, pair, ceil_mode=True, count_include_pad=False)
        odd = F.avg_pool2d(x, triple, pair, border, count_include_pad=False)
        x = torch.where(torch.scalar_tensor(x.shape[axis] % 2, device=x.device) > 0, odd, even)
    return x


torch.fx.wrap("halved")  # one step to `export`, whose tracing knows no sides


class PreActResNet(nn.Module):
    """A convolution, stages of pre-activation units, BatchNorm, ReLU, mean over space, and a linear classifier.

    The first unit of every stage but the first has stride 2; kernels are padded to keep the side.

    Layout `"authors"`: convolutions take the strides. Of three stages, sides 1 above a multiple of 4, such as 29 and
    33, keep quarter turns and flips exact (the grid rule); on the published 32 they are not exact, and the strided
    layers say so. The classifier reads the means of all orientations, so invariance is learned; dropout is elementwise.

    Layout `"symmetric"`: means over windows take the strides (`halved`), which is exact on any side. The classifier
    reads the mean of the largest orientation at each place, so no element of the group changes the logits, as far as it
    maps the grid to itself; dropout is by field.

    On a domain, as of the hexagonal lattice, the input is set to zero outside, BatchNorm counts the cells of the domain
    only and leaves the others zero, so that every convolution reads zeros there, and the mean is over its cells. In
    both layouts convolutions take the strides there, and keep every second cell.

    Args:
        group: Group of the plane.
        widths: Regular fields of each stage.
        units: Units of each stage. Three stages have depth 6 units + 2, with bottlenecks 9 units + 2.
        in_channels: Channels of the images.
        classes: Number of classes.
        filters: Filter family; default `pdoconv.filters.default(2, kernel_size)`.
        kernel_size: Odd side of the kernels.
        first: Regular fields of the first convolution; default those of the first stage.
        head: Regular fields of a 1x1 convolution, with BatchNorm and ReLU, before the mean; 0 for none, as published.
            In layout `"symmetric"` the classifier reads one number a field, few in a narrow network: 64 are a remedy.
        bottleneck: Units of three convolutions, see `PreActUnit`.
        bias: Of the convolutions. The networks of G-CNN and HexaConv have them, the others do not.
        dropout: Probability, before the last convolution of each unit.
        layout: `"authors"` or `"symmetric"`.
        init: Of the convolutions, see `pdoconv.nn.GroupConv`; with `"authors"` the classifier starts as theirs too,
            Glorot uniform with biases 0.1.
        eps: Of BatchNorm; default that of the authors of PDO-eConv.
        domain: Which cells of the images mean something, booleans `(height, width)`; default all. Its sides are 1 above
            a multiple of 8 for three stages, so that every stride keeps the centre cell.

    Attributes:
        features: All layers before the mean.
        classifier: The linear classifier.

    Raises:
        ValueError: If an argument is out of range, or an input has another shape.

    >>> from pdoconv import cyclic, filters
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
        head: int = 0,
        bottleneck: bool = False,
        bias: bool = False,
        dropout: float = 0.0,
        layout: Literal["authors", "symmetric"] = "authors",
        init: Init = "unit",
        eps: float = 1e-3,
        domain: ArrayLike | None = None,
    ) -> None:
        """Check the arguments and make the layers."""
        super().__init__()
        _check(widths, units, head, kernel_size, bottleneck, dropout, layout)
        cells = None if domain is None else _centred(as_domain("PreActResNet", domain), len(widths))
        family, symmetric = filters or default(2, kernel_size), layout == "symmetric"
        self.in_type, field = group.trivial(in_channels), group.regular(widths[0] if first is None else first)
        layers: list[nn.Module] = [] if cells is None else [Domain(cells)]
        layers.append(_conv(self.in_type, field, kernel_size, family, bias, init))
        for stage, width in enumerate(widths):
            for number in range(units):
                stride, out = 2 if stage and not number else 1, group.regular(width)
                unit = PreActUnit(
                    field,
                    out,
                    kernel_size,
                    filters=family,
                    stride=stride,
                    means=symmetric and cells is None,
                    bottleneck=bottleneck,
                    bias=bias,
                    dropout=dropout,
                    by_field=symmetric,
                    init=init,
                    eps=eps,
                    domain=cells,
                )
                layers.append(unit)
                field, cells = out, None if cells is None else cells[::stride, ::stride]
        layers += [_norm(field, cells, eps), nn.ReLU()]
        if head:
            wide = group.regular(head)
            layers += [_conv(field, wide, 1, pointwise(), bias, init), _norm(wide, cells, eps), nn.ReLU()]
            field = wide
        if symmetric:
            layers.append(GroupPool(field))
        self.features = Sequential(*layers)
        self.classifier = nn.Linear(field.fields if symmetric else field.channels, classes)
        if init == "authors":
            nn.init.xavier_uniform_(self.classifier.weight)
            nn.init.constant_(self.classifier.bias, 0.1)
        self.cells = None if cells is None else int(cells.sum())

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(batch, in_channels, height, width)` to logits `(batch, classes)`."""
        y = self.features(x)
        return cast(Tensor, self.classifier(y.mean((2, 3)) if self.cells is None else y.sum((2, 3)) / self.cells))


def _conv(
    in_type: FieldType, out_type: FieldType, size: int, filters: Filters, bias: bool, init: Init, stride: int = 1
) -> GroupConv2d:
    return GroupConv2d(in_type, out_type, size, filters=filters, stride=stride, padding=size // 2, bias=bias, init=init)


def _norm(field: FieldType, domain: Cells | None, eps: float) -> nn.Module:
    return BatchNorm2d(field, eps=eps) if domain is None else DomainBatchNorm2d(field, domain, eps=eps)


def _check(
    widths: Sequence[int], units: int, head: int, kernel_size: int, bottleneck: bool, dropout: float, layout: str
) -> None:
    """Raise `ValueError` for what the layers would not name."""
    if len(widths) < 1 or units < 1 or head < 0:
        raise ValueError(
            f"PreActResNet: expected at least 1 stage and 1 unit and head >= 0, received widths={widths}, "
            f"units={units}, head={head}."
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
