"""RotEqNet for MNIST-rot: vector fields between the layers, 104,828 parameters (Marcos et al., 2017: 1.09% error).

A block is a convolution 9x9 by 17 rotated copies of every filter, ReLU, the largest response as a vector that points
where it occurs, 2x2 pooling that keeps the longest vector, and a normalisation by the root of the mean square. Filters
of vector fields turn their components too: that is the equivariant map from vectors to regular fields. Filters are
turned by bilinear interpolation and act on a disk. After the third convolution the largest response alone is kept, and
1x1 convolutions classify.

What is exact: with a number of orientations that 4 divides, vectors turn with quarter turns of the image and the logits
do not change, to rounding. The published 17 has no quarter turn, its nearest angle is 5.3 degrees off.
"""

from torch import nn

from pdoconv.filters import interpolated
from pdoconv.nn import BatchNorm2d, GroupConv2d, GroupPool, MaxPool2d, Sequential
from pdoconv.nn.orientation import OrientationPool
from pdoconv.pointgroups import cyclic

PADDINGS = (4, 4, 1)
"""Of the three convolutions: maps have 28, 14, then 7 pixels, and the last one leaves one."""


def roteqnet(
    *,
    classes: int = 10,
    orientations: int = 17,
    widths: tuple[int, int, int] = (6, 16, 32),
    hidden: int = 128,
    dropout: float = 0.75,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        orientations: Rotated copies of every filter.
        widths: Fields of the three convolutions.
        hidden: Channels of the 1x1 convolution before the classifier.
        dropout: Probability of the elementwise dropout before the classifier, of invariant channels.

    Raises:
        ValueError: If an argument is out of range.

    >>> sum(p.numel() for p in roteqnet().parameters())
    104828
    """
    if len(widths) != len(PADDINGS):
        raise ValueError(f"roteqnet: expected three widths, one for each convolution, received {widths}.")
    turns, filters = cyclic(orientations), interpolated(disk=True)
    incoming = turns.trivial(1)
    layers: list[nn.Module] = []
    for width, padding in zip(widths, PADDINGS, strict=True):
        if layers:
            layers += [nn.ReLU(), OrientationPool(incoming)]
            incoming = turns.vector(incoming.fields)
            layers += [MaxPool2d(incoming, 2), BatchNorm2d(incoming)]
        responses = turns.regular(width)
        layers += [GroupConv2d(incoming, responses, 9, filters=filters, padding=padding)]
        incoming = responses
    head = [nn.Conv2d(incoming.fields, hidden, 1), nn.Conv2d(hidden, classes, 1)]
    for conv in head:
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]  # it has one
    layers += [GroupPool(incoming), nn.ReLU(), head[0], nn.LeakyReLU(0.1), nn.BatchNorm2d(hidden)]
    return Sequential(*layers, nn.Dropout(dropout), head[1], nn.Flatten())
