"""Maps out of a type: to norms, to vectors, to the fields of a subgroup."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import pointwise
from pdoconv.groups import Group
from pdoconv.nn.blocks import norms
from pdoconv.nn.checks import require_dtype
from pdoconv.nn.kernel import GroupKernel
from pdoconv.representations import Representation, orbit, restrict


class NormPool(nn.Module):
    r"""Reduce every field to its norm $\sqrt{|v|^2 + \epsilon}$, which no element of the group changes.

    Args:
        in_type: Type of the input, fields of any kind.
        eps: Added to the squared norm, so that zero has a gradient.

    Attributes:
        out_type: Trivial fields, one for each input field.

    Raises:
        ValueError: If an input is not of that type.
    """

    def __init__(self, in_type: FieldType, *, eps: float = 1e-5) -> None:
        """Keep the arguments."""
        super().__init__()
        if eps <= 0:
            raise ValueError(f"NormPool: eps must be positive, received {eps}: at zero a norm has no gradient.")
        self.in_type, self.out_type, self.eps = in_type, in_type.group.trivial(in_type.fields), eps

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to `(batch, fields, *space)`."""
        self.in_type.check(x, "NormPool")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        return norms(x, self.in_type, self.eps).to(x.dtype)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"


class VectorOutput(GroupKernel):
    r"""Combine the fields of each pixel, or of pooled features, to vectors: $v(g f) = g\, v(f)$.

    The most general linear map; a regular field becomes $\sum_g f_g\, g\, u$ with a learned vector u. Components are
    (x, y[, z]), x to the right and **y up**: negate component 1 for data with y down.

    Args:
        in_type: Type of the input, fields of any kind.
        vectors: Number of vectors.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        out_type: `group.vector(vectors)`.

    Raises:
        ValueError: If no linear map to vectors is equivariant (as from trivial fields), or an input is not of that type
            or has another dtype than the weight.

    >>> from pdoconv import cyclic
    >>> head = VectorOutput(cyclic(8).regular(4))
    >>> head(torch.zeros(2, 32)).shape, head(torch.zeros(2, 32, 9, 9)).shape
    (torch.Size([2, 2]), torch.Size([2, 2, 9, 9]))
    """

    def __init__(
        self,
        in_type: FieldType,
        vectors: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Draw the weights."""
        super().__init__(in_type, in_type.group.vector(vectors), 1, pointwise(), True, device, dtype)
        self.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` or `(batch, channels)` to `vectors * dim` channels."""
        if x.dim() != 2:
            self.in_type.check(x, "VectorOutput")
        elif x.shape[1] != self.in_type.channels:
            raise ValueError(f"VectorOutput: expected (batch, {self.in_type.channels}), received {tuple(x.shape)}.")
        require_dtype(self, x, self.weight)
        return F.linear(x.movedim(1, -1), self.kernel().flatten(1), self.dense_bias()).movedim(-1, 1)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"


class Restrict(nn.Module):
    """Go on with a subgroup: the same channels in its order, fields of one kind together.

    D16 regular becomes 2 C16 regular, C16 regular becomes 2 C8 regular. A network that is equivariant to a large group
    in its first layers can so be to a smaller one later, where orientation begins to mean something.

    Args:
        in_type: Type of the input.
        subgroup: Subgroup of its group.

    Attributes:
        out_type: Type of the output.

    Raises:
        ValueError: If it is not a subgroup, or an input is not of that type.

    >>> from pdoconv import cyclic
    >>> Restrict(cyclic(16).regular(3), cyclic(8)).out_type
    FieldType(C8: 6 regular)
    """

    order: Tensor | None

    def __init__(self, in_type: FieldType, subgroup: Group) -> None:
        """Find the order of the channels."""
        super().__init__()
        kinds: list[tuple[Representation, int]] = []
        order: list[int] = []
        for whole, fields in in_type.blocks:
            parts, start, first = [], 0, len(order)
            for kind in restrict(whole, subgroup):
                parts += [(part, [start + c for c in channels]) for part, channels in _orbits(kind)]
                start += kind.dim
            for wanted in dict.fromkeys(part for part, _ in parts):  # few blocks: each pair costs a layer time
                own = [channels for part, channels in parts if part == wanted]
                kinds.append((wanted, fields * len(own)))
                order += [first + f * whole.dim + c for f in range(fields) for channels in own for c in channels]
        self.in_type, self.out_type = in_type, FieldType(subgroup, tuple(kinds))
        self._order = order if order != list(range(len(order))) else None
        self.register_buffer("order", self._table(), persistent=False)

    def _table(self) -> Tensor | None:
        return None if self._order is None else torch.tensor(self._order, device="cpu")

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Fill the order anew: `to_empty` leaves it without values."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.order is not None and (order := self._table()) is not None:
            self.order = order.to(self.order.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, "Restrict")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        return x if self.order is None else x.index_select(1, self.order)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"


def _orbits(kind: Representation) -> list[tuple[Representation, list[int]]]:
    """Split a field whose channels a group permutes into quotient fields: each with its channels, in order."""
    p, inverse = kind.permutation, kind.group.inverse
    if p is None:
        return [(kind, list(range(kind.dim)))]
    found: list[tuple[Representation, list[int]]] = []
    seen: set[int] = set()
    for first in range(kind.dim):
        if first in seen:
            continue
        field = orbit(kind, first)
        assert field.permutation is not None
        # an element h carries channel c to p[h^-1, c]: channel 0 of the quotient, and `first` here
        places = dict(zip(field.permutation[inverse, 0].tolist(), p[inverse, first].tolist(), strict=True))
        channels = [places[c] for c in range(field.dim)]
        found.append((field, channels))
        seen |= set(channels)
    return found
