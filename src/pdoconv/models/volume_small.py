"""A small classifier of volumes that answers alike for all rotations of its group, and the plain CNN beside it.

Three convolutions, 5^3 and twice 3^3, on 15^3, 8^3 and 4^3 voxels with BatchNorm and ReLU, average pooling between
them, the mean over space, the maximum over the group, a linear layer. The mean comes first: all parts of a shape are
then seen from one side. Sides that are 3 mod 4 obey the grid rule.
"""

from torch import nn

from pdoconv.filters import PDOFilters
from pdoconv.groups import Group
from pdoconv.nn import AvgPool3d, BatchNorm3d, GroupPool, PDOConv3d, Sequential
from pdoconv.pointgroups import octahedral


def volume_small(
    *,
    group: Group | None = None,
    classes: int = 8,
    fields: int = 2,
    filters: PDOFilters | None = None,
    dropout: float = 0.0,
) -> Sequential:
    """Return the equivariant network: standardised volumes `(batch, 1, 15, 15, 15)` to logits `(batch, classes)`.

    Args:
        group: A group of space; default `octahedral()`, the 24 rotations of the cube. With reflections in it, as
            `octahedral(inversion=True)`, mirror images get the same answer.
        classes: Number of classes.
        fields: Regular fields of the first layer; the second has twice, the third four times as many.
        filters: PDO family; default `pdoconv.filters.default(3)`.
        dropout: Probability of the dropout before the linear layer.

    Raises:
        ValueError: If the group is not of space.

    >>> sum(p.numel() for p in volume_small().parameters())
    9720
    """
    group = group or octahedral()
    incoming = group.trivial(1)
    layers: list[nn.Module] = []
    for width in (fields, 2 * fields, 4 * fields):
        hidden = group.regular(width)
        if layers:
            layers += [AvgPool3d(incoming, 3, stride=2, padding=1) if len(layers) == 3 else AvgPool3d(incoming, 2)]
        size = 3 if layers else 5
        conv = PDOConv3d(incoming, hidden, size, filters=filters, padding=size // 2, bias=False)
        layers += [conv, BatchNorm3d(hidden), nn.ReLU()]
        incoming = hidden
    head = [nn.Flatten(), nn.Dropout(dropout), nn.Linear(incoming.fields, classes)]
    return Sequential(*layers, nn.AdaptiveAvgPool3d(1), GroupPool(incoming), *head)


def volume_plain(*, classes: int = 8, channels: int = 6, kernel_size: int = 3, dropout: float = 0.0) -> nn.Sequential:
    """Return the plain network of the same layout: `(batch, 1, 15, 15, 15)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        channels: Channels of the first layer; the second has twice, the third four times as many.
        kernel_size: Odd side of the kernels.
        dropout: Probability of the dropout before the linear layer.

    >>> sum(p.numel() for p in volume_plain().parameters())
    10166
    """
    layers: list[nn.Module] = []
    incoming = 1
    for width in (channels, 2 * channels, 4 * channels):
        if layers:
            layers += [nn.AvgPool3d(3, stride=2, padding=1) if len(layers) == 3 else nn.AvgPool3d(2)]
        conv = nn.Conv3d(incoming, width, kernel_size, padding=kernel_size // 2, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm3d(width), nn.ReLU()]
        incoming = width
    head = [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(incoming, classes)]
    return nn.Sequential(*layers, *head)
