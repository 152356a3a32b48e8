"""U-Net for maps of every pixel, equivariant to a group, on the line, the plane or in space (Ronneberger et al., 2015).

The encoder halves the map between its stages by windows of two pixels, which lie symmetrically on even sides; the
decoder doubles it with kernels of two pixels, or by interpolation, and reads the encoder's map of that side beside it.
So all grids have one centre, and every symmetry of the lattice that is in the group is exact end to end:
`net(act(g, x)) == act(g, net(x))`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import Filters, default, pointwise
from pdoconv.filters.rotated import RotatedFilters
from pdoconv.groups import Group
from pdoconv.nn import AvgPool, BatchNorm, FieldDropout, GroupConv, GroupConvTranspose, MaxPool, Sequential, Upsample
from pdoconv.pointgroups import cyclic

Upsampling = Literal["interpolate", "transposed"]
Pooling = Literal["mean", "max"]


class UNet(nn.Module):
    """Stages of two convolutions with BatchNorm and ReLU on ever coarser maps, then back, with skip connections.

    All hidden fields are regular. The last layer is a 1x1 convolution to `output`: to trivial fields, such as logits of
    classes, an element of the group changes nothing but their place; to vectors, it turns them too.

    With `cyclic(1)` and `filters.rotated()` this is an ordinary U-Net, with `upsampling="transposed"` and
    `pooling="max"` the published layout with padding.

    Args:
        group: A finite group of the line, the plane or of space; default p8, turns by 45 degrees.
        in_channels: Channels of the images.
        classes: Number of classes, for the logits of every pixel.
        widths: Regular fields of each stage, from the finest to the coarsest.
        kernel_size: Odd side of the kernels.
        filters: Filter family; default `pdoconv.filters.default(dim, kernel_size)`. Rotated pixels double the map with
            kernels of their own, all others with `default(dim, 2)`.
        upsampling: `"interpolate"`: linear interpolation; `"transposed"`: transposed convolutions of stride 2, as
            published. Both are exact for lattice symmetries; for other angles interpolation is the better by far.
        pooling: `"mean"` or, as published, `"max"` of windows of two pixels a side.
        norm: BatchNorm behind every convolution; without, convolutions have biases.
        dropout: Probability that a field is dropped, behind each stage but the first and the last.
        output: Type of the output instead of `classes` trivial fields.

    Attributes:
        in_type, out_type: Types of images and output.
        unit: What sides must be a multiple of, 2 to the number of stages less one.

    Raises:
        ValueError: If an argument is out of range, or an input has other channels or other sides.

    >>> sum(p.numel() for p in UNet(cyclic(8), classes=10, widths=(2, 4)).parameters())
    4664
    """

    def __init__(
        self,
        group: Group | None = None,
        in_channels: int = 1,
        classes: int = 2,
        *,
        widths: Sequence[int] = (4, 8, 16),
        kernel_size: int = 5,
        filters: Filters | None = None,
        upsampling: Upsampling = "interpolate",
        pooling: Pooling = "mean",
        norm: bool = True,
        dropout: float = 0.0,
        output: FieldType | None = None,
    ) -> None:
        """Check the arguments and make the layers."""
        super().__init__()
        group = group or cyclic(8)
        _check(group, widths, kernel_size, upsampling, pooling, output)
        family = filters or default(group.dim, kernel_size)
        self.in_type, self.out_type = group.trivial(in_channels), output or group.trivial(classes)
        self.unit = 2 ** (len(widths) - 1)
        fields = [group.regular(width) for width in widths]

        def stage(into: FieldType, out: FieldType, drop: float) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for before in (into, out):
                layers.append(
                    GroupConv(before, out, kernel_size, filters=family, padding=kernel_size // 2, bias=not norm)
                )
                layers += [BatchNorm(out), nn.ReLU()] if norm else [nn.ReLU()]
            return [*layers, FieldDropout(out, drop)] if drop else layers

        pool = MaxPool if pooling == "max" else AvgPool
        down = [Sequential(*stage(self.in_type, fields[0], 0.0))]
        for fine, coarse in pairwise(fields):
            down.append(Sequential(pool(fine, 2), *stage(fine, coarse, dropout)))
        self.down, self.up, self.back = nn.ModuleList(down), nn.ModuleList(), nn.ModuleList()
        doubling = family if isinstance(family, RotatedFilters) else default(group.dim, 2)
        for fine, coarse in zip(fields[-2::-1], fields[:0:-1], strict=True):
            if upsampling == "transposed":
                self.up.append(GroupConvTranspose(coarse, fine, 2, filters=doubling, stride=2))
            else:
                self.up.append(Upsample(coarse, 2, mode="linear"))
            both = cast(FieldType, self.up[-1].out_type) + fine
            self.back.append(Sequential(*stage(both, fine, dropout if fine is not fields[0] else 0.0)))
        self.head = GroupConv(fields[0], self.out_type, filters=pointwise())

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, *space)` to `(batch, out_channels, *space)`."""
        require_sides(x, self.in_type.channels, self.in_type.group.dim, self.unit)
        kept = []
        for stage in self.down:
            x = stage(x)
            kept.append(x)
        y = kept.pop()
        for up, stage in zip(self.up, self.back, strict=True):
            y = stage(torch.cat([up(y), kept.pop()], 1))
        return cast(Tensor, self.head(y))


def unet(
    *,
    group: Group | None = None,
    in_channels: int = 1,
    classes: int = 2,
    widths: Sequence[int] = (4, 8, 16),
    kernel_size: int = 5,
    filters: Filters | None = None,
    upsampling: Upsampling = "interpolate",
    pooling: Pooling = "mean",
    norm: bool = True,
    dropout: float = 0.0,
) -> UNet:
    """Return a `UNet` with trivial outputs, by the arguments of that class."""
    return UNet(
        group,
        in_channels,
        classes,
        widths=widths,
        kernel_size=kernel_size,
        filters=filters,
        upsampling=upsampling,
        pooling=pooling,
        norm=norm,
        dropout=dropout,
    )


def require_sides(x: Tensor, channels: int, dim: int, unit: int) -> None:
    """Raise `ValueError` unless `x` is `(batch, channels, *space)` with sides that are multiples of `unit`."""
    if x.dim() != dim + 2 or x.shape[1] != channels:
        space = ("depth, height, width", "height, width", "length")[3 - dim]
        raise ValueError(f"UNet: expected (batch, {channels}, {space}), received {tuple(x.shape)}.")
    for side in x.shape[2:]:
        if side % unit or side < 1:
            low, high = side // unit * unit, (side // unit + 1) * unit
            good = f"{low} or {high}" if low else f"{high}"
            raise ValueError(
                f"UNet: expected sides that are multiples of {unit}, received {tuple(x.shape[2:])}: crop or pad to "
                f"{good}, alike on both sides, so that the centre stays."
            )


torch.fx.wrap("require_sides")  # one step to `export`, whose tracing knows no sides


def _check(
    group: Group, widths: Sequence[int], kernel_size: int, upsampling: str, pooling: str, output: FieldType | None
) -> None:
    """Raise `ValueError` for what the layers would not name."""
    if group.continuous:
        raise ValueError(f"UNet: expected a finite group, with regular fields, received {group}: use cyclic(16).")
    if len(widths) < 2 or min(widths) < 1:
        raise ValueError(f"UNet: expected widths of at least 2 stages, each at least 1, received {tuple(widths)}.")
    if kernel_size % 2 == 0:
        raise ValueError(f"UNet: expected an odd kernel_size, which keeps the side, received {kernel_size}.")
    if upsampling not in get_args(Upsampling) or pooling not in get_args(Pooling):
        raise ValueError(
            f"UNet: upsampling must be one of {get_args(Upsampling)} and pooling one of {get_args(Pooling)}, received "
            f"{upsampling!r} and {pooling!r}."
        )
    if output is not None and output.group != group:
        raise ValueError(f"UNet: the output must be of {group}, received {output}.")
