"""Arithmetic over the fields of any type: norms, values of a field spread over its channels."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pdoconv.fields import FieldType
from pdoconv.representations import Representation


def blocks(x: Tensor, field: FieldType, dim: int = 1) -> Iterator[tuple[Representation, int, Tensor]]:
    """Split a tensor along its channels into the blocks of a type: kind, number of fields, `(..., fields, D, ...)`."""
    parts = torch.split(x, [fields * kind.dim for kind, fields in field.blocks], dim)
    for place, (kind, fields) in enumerate(field.blocks):  # by index: so torch.fx can trace it
        yield kind, fields, torch.unflatten(parts[place], dim, (fields, kind.dim))


def joined(parts: list[Tensor], dim: int = 1) -> Tensor:
    """Put blocks side by side again."""
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def by_channel(values: Tensor, field: FieldType, dim: int = 1) -> Tensor:
    """Repeat one value a field, along an axis, for each of its channels."""
    parts = torch.split(values, [fields for _, fields in field.blocks], dim)
    each = [parts[place].repeat_interleave(kind.dim, dim) for place, (kind, _) in enumerate(field.blocks)]
    return joined(each, dim)


def norm(part: Tensor, eps: float) -> Tensor:
    r"""Return $\sqrt{|v|^2 + \epsilon}$ over axis 2, differentiable at zero, without overflow in half precision."""
    size = torch.linalg.vector_norm(part, dim=2)
    return torch.hypot(size, torch.full_like(size, math.sqrt(eps)))


def norms(x: Tensor, field: FieldType, eps: float) -> Tensor:
    """Return the norm of every field, `(batch, fields, *space)`."""
    return joined([norm(part, eps) for _, _, part in blocks(x, field)])
