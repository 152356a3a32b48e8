"""P4CNN and Z2CNN: the networks for MNIST-rot of G-CNN (Cohen & Welling, 2016: 2.28% and 5.03% error).

Six 3x3 convolutions without padding, each with BatchNorm and ReLU, 2x2 max pooling behind the second, a 4x4 convolution
to the classes: sides 28, 26, 24, 12, 10, 8, 6, 4, 1. The maximum over the group makes the answer invariant; every side
obeys the grid rule, so to quarter turns exactly.
"""

from typing import Any

from torch import nn

from pdoconv.filters import Filters, rotated
from pdoconv.groups import Group
from pdoconv.nn import BatchNorm2d, GroupConv2d, GroupPool, MaxPool2d, Sequential
from pdoconv.pointgroups import cyclic


def p4cnn(
    *,
    group: Group | None = None,
    fields: int = 10,
    classes: int = 10,
    filters: Filters | None = None,
    dropout: float = 0.0,
) -> Sequential:
    """Return P4CNN: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        group: Group of the plane; default `cyclic(4)`. `dihedral(4)` makes it p4m.
        fields: Regular fields of every layer.
        classes: Number of classes.
        filters: Filter family that has kernels of side 4; default `pdoconv.filters.rotated()`.
        dropout: Probability of the elementwise dropout behind layers 1, 3, 4, 5 and 6.

    >>> sum(p.numel() for p in p4cnn().parameters())
    24680
    """
    group, filters = group or cyclic(4), filters or rotated()
    hidden, out = group.regular(fields), group.regular(classes)
    layers: list[nn.Module] = []
    for number in range(1, 7):
        incoming = group.trivial(1) if number == 1 else hidden
        layers += [GroupConv2d(incoming, hidden, 3, filters=filters), BatchNorm2d(hidden), nn.ReLU()]
        layers += [MaxPool2d(hidden, 2)] if number == 2 else [nn.Dropout(dropout)] if dropout else []
    return Sequential(*layers, GroupConv2d(hidden, out, 4, filters=filters), GroupPool(out), nn.Flatten())


def z2cnn(*, fields: int = 20, dropout: float = 0.3, **config: Any) -> Sequential:
    """Return Z2CNN, the plain network beside P4CNN: the same layers over the group of the identity alone.

    Args:
        fields: Channels of every layer.
        dropout: Probability of the elementwise dropout.
        **config: Of `p4cnn`.

    >>> sum(p.numel() for p in z2cnn().parameters())
    21750
    """
    return p4cnn(group=cyclic(1), fields=fields, dropout=dropout, **config)
