"""A larger PDO-eConv network for MNIST-rot, of about the 0.65M parameters of the one whose layout was never published.

Six 5x5 convolutions over 16 orientations in the order of E2CNN: without padding (28 to 24 pixels), then halved twice by
maxima, without padding at the end (6 to 2), so every side obeys the grid rule. Maxima over group and space and a hidden
linear layer of 64 make the logits invariant to quarter turns exactly. The fields grow with depth, where maps are small
and work is cheap. Published for the authors' network: 0.709% error (Shen et al., 2020).
"""

from collections.abc import Sequence

from pdoconv.filters import Filters, default
from pdoconv.groups import Group
from pdoconv.models.sfcnn import Layer, steerable
from pdoconv.nn import Sequential
from pdoconv.pointgroups import cyclic

LAYERS = (Layer(5, 0), Layer(5, 2, True), Layer(5, 2), Layer(5, 2, True), Layer(5, 2), Layer(5, 0))


def mnist_large(
    *,
    group: Group | None = None,
    restrict: Group | None = None,
    widths: Sequence[int] = (8, 16, 20, 24, 32, 44),
    hidden: Sequence[int] = (64,),
    classes: int = 10,
    filters: Filters | None = None,
    dropout: float = 0.3,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        group: Group of the plane; default `cyclic(16)`.
        restrict: Go on with this subgroup before the last convolution: `group=dihedral(16), restrict=cyclic(16)`.
        widths: Regular fields of the six convolutions.
        hidden: Widths of the hidden linear layers.
        classes: Number of classes.
        filters: Filter family; default `pdoconv.filters.default(2)`.
        dropout: Probability of dropout before every hidden linear layer.

    Raises:
        ValueError: If `widths` has not six entries, or `restrict` is not a subgroup.

    >>> sum(p.numel() for p in mnist_large().parameters())
    649826
    """
    group = group or cyclic(16)
    groups = [group] * (len(LAYERS) - 1) + [restrict or group]
    if len(widths) != len(LAYERS):
        raise ValueError(f"mnist_large: expected a width for each of {len(LAYERS)} layers, received {len(widths)}.")
    types = [g.regular(n) for g, n in zip(groups, widths, strict=True)]
    return steerable(LAYERS, types, hidden=hidden, classes=classes, filters=filters or default(2), dropout=dropout)
