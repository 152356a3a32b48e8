"""E2CNN for MNIST-rot (Weiler & Cesa, 2019: 0.716% with C16 regular fields, 0.682% with D16 restricted to C16).

Six convolutions with circular harmonics, as in SFCNN, in the sizes of the authors' benchmark: 7x7 with 16 fields (28
to 24 pixels), 5x5 with 24 (then 12), 32, 32 (then 6), 48, 64 (no padding: 2 pixels), maxima over group and space, a
hidden linear layer of 64. The results above have the larger layers of `sfcnn`.
"""

from collections.abc import Sequence
from typing import Literal

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.groups import Group
from pdoconv.models.sfcnn import Layer, steerable
from pdoconv.nn import Sequential
from pdoconv.pointgroups import cyclic

E2CNN = (Layer(7, 1), Layer(5, 2, True), Layer(5, 2), Layer(5, 2, True), Layer(5, 2), Layer(5, 0))


def e2cnn(
    *,
    group: Group | None = None,
    widths: Sequence[int] = (16, 24, 32, 32, 48, 64),
    fields: Literal["regular", "quotient"] = "regular",
    restrict: Group | None = None,
    hidden: Sequence[int] = (64,),
    classes: int = 10,
    filters: Filters | None = None,
    dropout: float = 0.3,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        group: Group of the plane; default `cyclic(16)`.
        widths: Size of the six layers, in regular fields.
        fields: `"regular"`, or `"quotient"`: blocks of 5 regular fields, 2 on the cosets of half of the rotations, 2 on
            those of a quarter of them, and 4 trivial ones, as the authors mix them, with about as many channels.
        restrict: Go on with this subgroup before the last convolution: `group=dihedral(16), restrict=cyclic(16)`.
        hidden: Widths of the hidden linear layers.
        classes: Number of classes.
        filters: Filter family; default `pdoconv.filters.harmonics()`.
        dropout: Probability of dropout before every hidden linear layer.

    Raises:
        ValueError: If `widths` has not six entries, `fields` is unknown, or `restrict` is not a subgroup.

    >>> sum(p.numel() for p in e2cnn().parameters())
    1199858
    """
    if fields not in ("regular", "quotient"):
        raise ValueError(f"e2cnn: fields must be 'regular' or 'quotient', received {fields!r}.")
    group = group or cyclic(16)
    groups = [group] * (len(widths) - 1) + [restrict or group]
    types = [_fields(g, n, fields == "quotient") for g, n in zip(groups, widths, strict=True)]
    return steerable(E2CNN, types, hidden=hidden, classes=classes, filters=filters, dropout=dropout)


def _fields(group: Group, width: int, quotients: bool) -> FieldType:
    """Return about `width * |G|` channels of regular fields, or of the mixture with quotient fields."""
    if not quotients:
        return group.regular(width)
    turns = int((~group.mirrors).sum())
    half, quarter = (cyclic(max(1, turns // share)) for share in (2, 4))
    block = group.regular(5) + group.quotient(half, 2) + group.quotient(quarter, 2) + group.trivial(4)
    count = max(1, round(width * group.order / block.channels))
    parts = [(kind, n * count) for kind, n in block.blocks]
    return FieldType(group, tuple(parts))
