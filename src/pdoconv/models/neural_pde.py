r"""An equivariant neural PDE: feature fields that flow by $\partial u / \partial t = F(u)$, F of PDO-eConv layers.

The image is lifted to regular fields and halved to 14 pixels; they flow for a unit of time; a convolution to more
fields, halved to 7 pixels, and they flow again; a convolution without padding, the maxima over orientations and space,
two linear layers. F is a PDO-eConv layer, which has differential operators of up to fourth order, normalisation, GELU,
and a mixing of the fields in each pixel: a reaction of derivatives. Each sample and field is normalised by its mean and
variance over space and orientations, without factors of channels, so F commutes with the group and so does its flow.
Every side obeys the grid rule: the logits are invariant to quarter turns exactly.

No paper has this network; the idea is the remark that the theory of residual networks should be one of PDEs.
"""

from collections.abc import Sequence

from torch import nn

from pdoconv.fields import FieldType
from pdoconv.filters import PDOFilters, pointwise
from pdoconv.groups import Group
from pdoconv.nn import GroupConv2d, GroupPool, MaxPool2d, PDOConv2d, Sequential
from pdoconv.pde.block import PDEBlock
from pdoconv.pointgroups import cyclic


def neural_pde(
    *,
    group: Group | None = None,
    widths: Sequence[int] = (4, 10, 16),
    hidden: int = 48,
    classes: int = 10,
    filters: PDOFilters | None = None,
    solver: str = "midpoint",
    steps: int = 2,
    dropout: float = 0.2,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        group: Group of the plane; default `cyclic(8)`.
        widths: Regular fields of the first flow, of the second, and of the last convolution.
        hidden: Width of the hidden linear layer.
        classes: Number of classes.
        filters: PDO family of 5x5 kernels; default `pdoconv.filters.default(2)`.
        solver: Of `pdoconv.pde.PDEBlock`.
        steps: Of a fixed-step solver, in each flow.
        dropout: Probability of dropout before the linear layers.

    Raises:
        ValueError: If there are not three widths, or the solver is unknown.

    >>> sum(p.numel() for p in neural_pde().parameters())
    35164
    """
    if len(widths) != 3:
        raise ValueError(f"Expected three widths, of two flows and the last convolution, received {len(widths)}.")
    group = group or cyclic(8)
    first, second, last = (group.regular(n) for n in widths)
    parts: list[nn.Module] = []
    for incoming, u in ((group.trivial(1), first), (first, second)):
        field = Sequential(*_layer(u, u, filters), GroupConv2d(u, u, filters=pointwise()))
        convolution, *then = _layer(incoming, u, filters)
        parts += [convolution, MaxPool2d(u, 2), *then, PDEBlock(field, solver=solver, steps=steps)]
    parts += [*_layer(second, last, filters, padding=0), GroupPool(last), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    head = (nn.Dropout(dropout), nn.Linear(last.fields, hidden), nn.GELU(), nn.Linear(hidden, classes))
    return Sequential(*parts, *head)


def _layer(
    in_type: FieldType, out_type: FieldType, filters: PDOFilters | None, padding: int = 2
) -> tuple[nn.Module, ...]:
    """Return convolution, normalisation of every field of every sample, and a smooth activation."""
    norm = nn.GroupNorm(out_type.fields, out_type.channels, affine=False)
    return PDOConv2d(in_type, out_type, 5, filters=filters, padding=padding, bias=False), norm, nn.GELU()
