"""Field types: what a block of channels means, and how a group element acts on it.

A feature map is a plain tensor `(batch, channels, *space)`; its type lives on the layers. Channels are laid out field
by field, the channels of a field (for a regular one the group elements) fastest: channel = field * D + c.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pdoconv.grid import Matrix, move
from pdoconv.groups import Group, Table
from pdoconv.representations import Array, Representation, restrict


@dataclass(frozen=True)
class FieldType:
    """Blocks of fields over one group; make one with `group.regular(n)`, `group.irrep(k, n)` and the like, and `+`.

    Args:
        group: The group that acts.
        blocks: Pairs (representation, number of fields), in channel order.

    Attributes:
        fields: Number of fields.
        channels: Number of channels.

    Raises:
        ValueError: If a representation is of another group or a number of fields is not at least 1.

    >>> from pdoconv import cyclic
    >>> C8 = cyclic(8)
    >>> t = C8.trivial(1) + C8.regular(4) + C8.irrep(2, 3)
    >>> t, t.fields, t.channels
    (FieldType(C8: 1 trivial + 4 regular + 3 irrep(2)), 8, 39)
    """

    group: Group
    blocks: tuple[tuple[Representation, int], ...]
    fields: int = field(init=False, compare=False)
    channels: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Check the blocks and merge neighbours of one kind."""
        merged: list[tuple[Representation, int]] = []
        for kind, fields in self.blocks:
            if not isinstance(kind, Representation) or kind.group != self.group:
                raise ValueError(f"Expected a representation of {self.group} for a kind of field, received {kind!r}.")
            if isinstance(fields, bool) or not isinstance(fields, int) or fields < 1:
                raise ValueError(f"The number of fields must be a whole number of at least 1, received {fields!r}.")
            if merged and merged[-1][0] == kind:
                merged[-1] = (merged[-1][0], merged[-1][1] + fields)
            else:
                merged.append((kind, fields))
        if not merged:
            raise ValueError("A field type needs at least one block of fields, received none.")
        object.__setattr__(self, "blocks", tuple(merged))
        object.__setattr__(self, "fields", sum(fields for _, fields in merged))
        object.__setattr__(self, "channels", sum(fields * kind.dim for kind, fields in merged))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Channels of each field."""
        return tuple(kind.dim for kind, fields in self.blocks for _ in range(fields))

    @property
    def kind(self) -> str:
        """Name of the representation, such as `"trivial"` or `"regular"`, or `"mixed"` for a sum of several."""
        return self.blocks[0][0].name if len(self.blocks) == 1 else "mixed"

    @property
    def field_size(self) -> int:
        """Channels of each field; `ValueError` for a mixed type."""
        if len(self.blocks) > 1:
            raise ValueError(f"field_size: expected fields of one kind, received {self}: see `sizes`.")
        return self.blocks[0][0].dim

    @property
    def permuted(self) -> bool:
        """Whether the group only permutes channels, so that pointwise functions keep the symmetry."""
        return all(kind.permutes for kind, _ in self.blocks)

    def __add__(self, other: "FieldType") -> "FieldType":
        """Stack the channels of two types of the same group."""
        if not isinstance(other, FieldType):
            return NotImplemented
        if self.group != other.group:
            raise ValueError(f"Cannot add fields of {self.group} and of {other.group}: use one group.")
        return FieldType(self.group, self.blocks + other.blocks)

    def restrict(self, subgroup: Group) -> "FieldType":
        """Return the type of the same channels, in the same order, under a subgroup.

        A feature map needs no change. For regular fields to become regular ones of the subgroup, channels may have to
        be put in its order: `Restrict` does that.

        Raises:
            ValueError: If it is not a subgroup.

        >>> from pdoconv import cyclic, dihedral
        >>> dihedral(16).regular(3).restrict(cyclic(16)) == cyclic(16).regular(6)
        True
        """
        parts = [(kind, 1) for whole, n in self.blocks for kind in restrict(whole, subgroup) * n]
        return FieldType(subgroup, tuple(parts))

    def permutation(self, g: int) -> Table:
        r"""Return p with `act(g, f)[c] = moved(f[p[c]])`, for regular fields $h \mapsto g^{-1} h$.

        Raises:
            ValueError: If the group does more than permute channels.
        """
        parts: list[Table] = []
        start = 0
        for kind, fields in self.blocks:
            if kind.permutation is None:
                raise ValueError(f"permutation: the group does not permute the channels of {self}: see `matrix`.")
            inner = kind.permutation[self.group.check_element(g)]
            parts.append((start + np.arange(fields)[:, None] * len(inner) + inner).ravel())
            start += fields * len(inner)
        return np.concatenate(parts)

    def matrix(self, matrix: Matrix) -> Array:
        """Return how a motion mixes the channels, `(channels, channels)`, with zeros between fields.

        Args:
            matrix: Orthogonal matrix of the motion; one of the group, for trivial and vector fields any.

        Raises:
            ValueError: If fields of this type cannot be moved by it.
        """
        parts = [part for kind, fields in self.blocks for part in [kind.at(matrix)] * fields]
        whole = np.zeros((self.channels, self.channels))
        start = 0
        for part in parts:
            whole[start : start + len(part), start : start + len(part)] = part
            start += len(part)
        return whole

    def mix(self, x: Tensor, matrix: Matrix) -> Tensor:
        """Act with a motion on channels alone, `(batch, channels, ...)`; arguments and errors of `matrix`."""
        found = int(self.group.find(np.asarray(matrix)[None])[0]) if self.permuted else -1
        if found >= 0:
            return x[:, torch.as_tensor(self.permutation(found), device=x.device)]
        whole = self.matrix(matrix)
        if np.array_equal(whole, np.eye(len(whole))):
            return x
        if not x.is_floating_point():
            raise ValueError(f"{self} mixes channels: expected floating-point maps, received {x.dtype}: use x.float().")
        return torch.einsum("ij,bj...->bi...", torch.as_tensor(whole, dtype=x.dtype, device=x.device), x)

    def check(self, x: Tensor, who: str) -> None:
        """Raise `ValueError` unless `x` is `(batch, channels, *space)` of this type."""
        if x.dim() != self.group.dim + 2 or x.shape[1] != self.channels:
            space = ("depth, height, width", "height, width", "length")[3 - self.group.dim]
            raise ValueError(
                f"{who}: expected (batch, {self.channels}, {space}) for {self}, received {tuple(x.shape)}. "
                f"Channels are field * size + channel of the field, and the batch axis comes first."
            )

    def transform(self, x: Tensor, g: int, *, mode: str = "bilinear") -> Tensor:
        """Act with group element `g` on feature maps: move the maps and mix the channels.

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
        matrix = self.group.matrices[self.group.check_element(g)]
        return move(self.mix(x, matrix), matrix, mode=mode)

    def __repr__(self) -> str:
        """Print as `FieldType(C8: 1 trivial + 4 regular)`."""
        return f"FieldType({self})"

    def __str__(self) -> str:
        """Print as `C8: 1 trivial + 4 regular`."""
        return f"{self.group}: " + " + ".join(f"{fields} {kind.name}" for kind, fields in self.blocks)
