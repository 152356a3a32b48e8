"""Field types: what a block of channels means, and how a group element acts on it.

A feature map is a plain tensor `(batch, channels, *space)`; its type lives on the layers. Channels are laid out field
by field, the group index fastest: channel = field * |G| + g.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pdoconv.grid import move
from pdoconv.groups import Group, Table

KINDS = ("trivial", "regular")


@dataclass(frozen=True)
class FieldType:
    """Blocks of fields over one group; make one with `group.trivial(n)`, `group.regular(n)` and `+`.

    Args:
        group: The group that acts.
        blocks: Pairs (kind, number of fields), in channel order.

    Raises:
        ValueError: If a kind is unknown or a number of fields is not at least 1.

    >>> from pdoconv import cyclic
    >>> C8 = cyclic(8)
    >>> t = C8.trivial(1) + C8.regular(4)
    >>> t, t.fields, t.channels
    (FieldType(C8: 1 trivial + 4 regular), 5, 33)
    """

    group: Group
    blocks: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        """Check the blocks and merge neighbours of one kind."""
        merged: list[tuple[str, int]] = []
        for kind, fields in self.blocks:
            if kind not in KINDS:
                raise ValueError(f"Unknown kind of field {kind!r}: expected one of {KINDS}.")
            if isinstance(fields, bool) or not isinstance(fields, int) or fields < 1:
                raise ValueError(f"The number of fields must be a whole number of at least 1, received {fields!r}.")
            if merged and merged[-1][0] == kind:
                merged[-1] = (kind, merged[-1][1] + fields)
            else:
                merged.append((kind, fields))
        if not merged:
            raise ValueError("A field type needs at least one block of fields, received none.")
        object.__setattr__(self, "blocks", tuple(merged))

    def size(self, kind: str) -> int:
        """Channels of one field of a kind: 1 for trivial, |G| for regular."""
        return self.group.order if kind == "regular" else 1

    @property
    def fields(self) -> int:
        """Number of fields."""
        return sum(fields for _, fields in self.blocks)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return sum(fields * self.size(kind) for kind, fields in self.blocks)

    @property
    def kind(self) -> str:
        """`"trivial"` or `"regular"`, or `"mixed"` for a sum of both."""
        return self.blocks[0][0] if len(self.blocks) == 1 else "mixed"

    @property
    def field_size(self) -> int:
        """Channels of each field; `ValueError` for a mixed type."""
        require_uniform(self, "field_size")
        return self.size(self.kind)

    def __add__(self, other: "FieldType") -> "FieldType":
        """Stack the channels of two types of the same group."""
        if self.group != other.group:
            raise ValueError(f"Cannot add fields of {self.group} and of {other.group}: use one group.")
        return FieldType(self.group, self.blocks + other.blocks)

    def permutation(self, g: int) -> Table:
        r"""Return p with `act(g, f)[c] = moved(f[p[c]])`: $\mathrm{act}(g, f)[c, h] = g \cdot f[c, g^{-1} h]$."""
        moved = self.group.relative[self.group.check_element(g)]
        parts: list[Table] = []
        start = 0
        for kind, fields in self.blocks:
            inner = moved if kind == "regular" else np.zeros(1, dtype=np.int64)
            parts.append((start + np.arange(fields)[:, None] * len(inner) + inner).ravel())
            start += fields * len(inner)
        return np.concatenate(parts)

    def check(self, x: Tensor, who: str) -> None:
        """Raise `ValueError` unless `x` is `(batch, channels, *space)` of this type."""
        if x.dim() != self.group.dim + 2 or x.shape[1] != self.channels:
            space = ("depth, height, width", "height, width", "length")[3 - self.group.dim]
            raise ValueError(
                f"{who}: expected (batch, {self.channels}, {space}) for {self}, received {tuple(x.shape)}. "
                f"Channels are field * size + group index, and the batch axis comes first."
            )

    def transform(self, x: Tensor, g: int, *, mode: str = "bilinear") -> Tensor:
        """Act with group element `g` on feature maps: move the maps and permute the channels.

        Exact (pixels are only rearranged) where `g` is a symmetry of the pixel lattice: quarter turns, half turns, axis
        and diagonal flips, for odd and even sides. Otherwise the maps are interpolated and zero outside their frame, so
        laws hold only up to the interpolation error; `pdoconv.equivariance_error` measures without it.

        Args:
            x: `(batch, channels, *space)`.
            g: Index of the element in `group`.
            mode: Interpolation for the other elements: `"bilinear"`, `"bicubic"` or `"nearest"`.

        Raises:
            ValueError: If `x` is not of this type or `g` is not an element.
        """
        self.check(x, "FieldType.transform")
        channels = self.permutation(g)
        return move(x[:, channels], self.group.matrices[g], mode=mode)

    def __repr__(self) -> str:
        """Print as `FieldType(C8: 1 trivial + 4 regular)`."""
        return f"FieldType({self})"

    def __str__(self) -> str:
        """Print as `C8: 1 trivial + 4 regular`."""
        return f"{self.group}: " + " + ".join(f"{fields} {kind}" for kind, fields in self.blocks)


def require_uniform(field: FieldType, who: str) -> None:
    """Raise `ValueError` unless all fields of a type are trivial, or all regular."""
    if field.kind == "mixed":
        raise ValueError(f"{who}: expected all fields trivial or all regular, received {field}. Split the channels.")


def split_fields(x: Tensor, field: FieldType) -> Tensor:
    """View `(batch, channels, *space)` as `(batch, fields, size, *space)`; `ValueError` for a mixed type."""
    split: Tensor = x.unflatten(1, (field.fields, field.field_size))  # type: ignore[no-untyped-call]  # torch's gap
    return split
