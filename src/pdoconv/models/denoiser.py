"""An equivariant denoiser in the layout of DnCNN: what it takes away from an image turns with the image.

Convolution and ReLU, then convolution, BatchNorm and ReLU, then one more convolution, with zero padding and no bias
(Zhang et al., IEEE TIP 2017). Between the images all fields are regular. With `cyclic(1)` and `filters.rotated()` this
is `dncnn`.
"""

import torch
from torch import nn

from pdoconv.fields import FieldType
from pdoconv.filters import Filters, default
from pdoconv.groups import Group
from pdoconv.models.correction import Correction
from pdoconv.nn import BatchNorm2d, GroupConv2d, Sequential
from pdoconv.pointgroups import cyclic


def denoiser(
    *,
    group: Group | None = None,
    depth: int = 7,
    fields: int = 9,
    in_channels: int = 1,
    out_channels: int = 1,
    kernel_size: int = 5,
    filters: Filters | None = None,
) -> Correction:
    """Return the network, from images `(batch, in_channels, height, width)` in [0, 1] to `(batch, out_channels, ...)`.

    Args:
        group: A finite group of the plane; default p8.
        depth: Number of convolutions, at least 3.
        fields: Regular fields between them.
        in_channels: Channels of the input; more than `out_channels` for a mask beside the image.
        out_channels: Channels of the output, corrections of the first ones of the input.
        kernel_size: Odd side of the kernels.
        filters: Filter family; default `pdoconv.filters.default(2, kernel_size)`.

    Raises:
        ValueError: If an argument is out of range, or there are more channels in the output than in the input.

    >>> sum(p.numel() for p in denoiser().parameters())  # with `dncnn()` 46,976
    42444
    """
    if depth < 3 or fields < 1 or kernel_size % 2 == 0:
        raise ValueError(
            f"denoiser: expected depth >= 3, fields >= 1 and an odd kernel_size, received {depth}, {fields}, "
            f"{kernel_size}."
        )
    group = group or cyclic(8)
    if group.continuous:
        raise ValueError(f"denoiser: expected a finite group, with regular fields, received {group}: use cyclic(16).")
    family, hidden = filters or default(2, kernel_size), group.regular(fields)

    def conv(into: FieldType, out: FieldType) -> GroupConv2d:
        return GroupConv2d(into, out, kernel_size, filters=family, padding="same", bias=False)

    layers: list[nn.Module] = [conv(group.trivial(in_channels), hidden), nn.ReLU()]
    for _ in range(depth - 2):
        layers += [conv(hidden, hidden), BatchNorm2d(hidden), nn.ReLU()]
    last = conv(hidden, group.trivial(out_channels))
    with torch.no_grad():
        last.weight.mul_(0.1)  # small corrections at first
    return Correction(Sequential(*layers, last), in_channels, out_channels)
