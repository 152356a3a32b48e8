r"""Finite groups of rotations and reflections: matrices, products, inverses.

A group is an ordered table of orthogonal matrices; everything else follows from the table, in any dimension. The groups
that have names are in `pdoconv.pointgroups`.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pdoconv.grid import Matrix, is_lattice_symmetry

if TYPE_CHECKING:
    from pdoconv.fields import FieldType

Table = NDArray[np.int64]
_SAME = 1e-9  # two matrices are the same element when no entry differs by more


@dataclass(frozen=True, eq=False, repr=False)
class Group:
    """A finite group of orthogonal matrices, in a fixed order that starts with the identity.

    Args:
        name: Printed name, such as `"C8"`.
        matrices: `(order, dim, dim)`; copied and made read-only.
        continuous: Whether the table only samples a group of all rotations of the plane, evenly and finely enough for
            averages over the group to be exact.

    Attributes:
        order: Number of elements in the table.
        dim: Dimension of the space that the group acts on.

    Raises:
        ValueError: If the matrices are not orthogonal, not distinct, not closed under the product, or do not start
            with the identity.
    """

    name: str
    matrices: NDArray[np.float64]
    continuous: bool = False
    order: int = field(init=False)
    dim: int = field(init=False)

    def __post_init__(self) -> None:
        """Copy the table, check it, and make it read-only."""
        m = np.array(self.matrices, dtype=np.float64)
        if m.ndim != 3 or m.shape[0] == 0 or m.shape[1] != m.shape[2]:
            raise ValueError(f"Group {self.name}: expected matrices (order, dim, dim), received shape {m.shape}.")
        m = nearly_halves(m)  # cos(pi / 2) and its like
        m.setflags(write=False)
        for name, value in (("matrices", m), ("order", len(m)), ("dim", m.shape[1])):
            object.__setattr__(self, name, value)
        if not np.allclose(m @ m.transpose(0, 2, 1), np.eye(self.dim), atol=_SAME):
            raise ValueError(f"Group {self.name}: every matrix must be orthogonal.")
        if np.abs(m[0] - np.eye(self.dim)).max() > _SAME:
            raise ValueError(f"Group {self.name}: element 0 must be the identity.")
        if len(set(self.find(m).tolist())) != self.order:
            raise ValueError(f"Group {self.name}: the same matrix stands in the table twice.")
        if (self.product < 0).any():
            raise ValueError(f"Group {self.name}: not closed, a product of two elements is missing from the table.")

    def find(self, matrices: Matrix) -> Table:
        """Return the index of each matrix `(..., dim, dim)` in the table, -1 where it is not an element."""
        flat = np.asarray(matrices, dtype=np.float64).reshape(-1, self.dim**2)
        table = self.matrices.reshape(self.order, -1)
        probe = np.sqrt(np.arange(2, 2 + self.dim**2))  # elements differ in this projection, so a sort finds them
        keys = table @ probe
        ranks = np.argsort(keys)
        low = np.searchsorted(keys[ranks], flat @ probe - 1e-7)
        found = np.full(len(flat), -1, dtype=np.int64)
        for step in range(self.order):
            candidate = ranks[np.minimum(low + step, self.order - 1)]
            hit = np.abs(table[candidate] - flat).max(axis=1) < _SAME
            found = np.where((found < 0) & hit, candidate, found)
            beyond = (low + step + 1 >= self.order) | (keys[candidate] > flat @ probe + 1e-7)
            if ((found >= 0) | beyond).all():
                break
        return found.reshape(np.shape(matrices)[:-2])

    def index(self, matrix: Matrix) -> int:
        """Return the index of one matrix; `ValueError` if it is not an element."""
        found = int(self.find(np.asarray(matrix)[None])[0])
        if found < 0:
            raise ValueError(f"{self.name} has no such element:\n{np.asarray(matrix)}")
        return found

    @cached_property
    def product(self) -> Table:
        """`product[g, h]` is the index of $g h$."""
        return self.find(np.einsum("gij,hjk->ghik", self.matrices, self.matrices))

    @cached_property
    def inverse(self) -> Table:
        """`inverse[g]` is the index of $g^{-1}$."""
        return self.find(self.matrices.transpose(0, 2, 1))

    @cached_property
    def relative(self) -> Table:
        """`relative[g, h]` is the index of $g^{-1} h$, which is what a layer's weight depends on."""
        table: Table = self.product[self.inverse]
        return table

    @cached_property
    def mirrors(self) -> NDArray[np.bool_]:
        """Which elements have determinant -1, `(order,)`: reflections, and in space inversions and their like."""
        return np.asarray(np.linalg.det(self.matrices) < 0)

    @cached_property
    def lattice_elements(self) -> tuple[int, ...]:
        """Indices of the elements that map the pixel lattice to itself: for these, layers are exactly equivariant."""
        return tuple(g for g in range(self.order) if is_lattice_symmetry(self.matrices[g]))

    def contains(self, matrices: Matrix) -> bool:
        """Tell whether orthogonal matrices `(..., dim, dim)` are elements, of a continuous group as exact rotations."""
        if np.shape(matrices)[-2:] != (self.dim, self.dim):
            return False
        if self.continuous:
            return bool(self.mirrors.any() or (np.linalg.det(matrices) > 0).all())
        return bool((self.find(matrices) >= 0).all())

    def is_subgroup_of(self, other: "Group") -> bool:
        """Tell whether every element is an element of `other`, whatever the order of the tables."""
        return self.continuous <= other.continuous and other.contains(self.matrices)

    def check_element(self, g: int) -> int:
        """Return `g` if it is the index of an element, else raise `ValueError`."""
        if not 0 <= g < self.order:
            raise ValueError(f"{self.name} has elements 0 to {self.order - 1}, received {g}.")
        return int(g)

    def trivial(self, fields: int = 1) -> "FieldType":
        """Type of `fields` scalar fields: one channel each, which the group moves but does not mix."""
        return self._type("trivial", fields)

    def regular(self, fields: int = 1) -> "FieldType":
        """Type of `fields` fields on the group: `order` channels each, which the group permutes."""
        return self._type("regular", fields)

    def quotient(self, subgroup: "Group", fields: int = 1) -> "FieldType":
        """Type of `fields` fields on the cosets of a subgroup H: |G| / |H| channels each, which the group permutes.

        The channels are the cosets gH in the order of their first elements. `ValueError` if H is no subgroup.
        """
        return self._type("quotient", fields, subgroup)

    def vector(self, fields: int = 1) -> "FieldType":
        """Type of `fields` vector fields, as flows and gradients: components (x, y[, z]), x to the right and y up."""
        return self._type("vector", fields)

    def irrep(self, k: int, fields: int = 1, *, pseudo: bool = False) -> "FieldType":
        """Type of `fields` fields of a real irreducible representation.

        Args:
            k: On the plane the frequency, 0 to n / 2 of n rotations (to 24 for SO(2) and O(2)): one channel for k = 0
                and n / 2, otherwise two, which a rotation by t turns by k t. For other groups the place in
                `irreps.irreps(group)`.
            fields: Number of fields.
            pseudo: Multiply by the determinant: reflections change the sign once more, as of a vorticity (k = 0).

        Raises:
            ValueError: If there is no such representation.
        """
        return self._type("irrep", fields, k, pseudo)

    def _type(self, kind: str, fields: int, *arguments: object) -> "FieldType":
        from pdoconv import fields as types
        from pdoconv import representations

        return types.FieldType(self, ((getattr(representations, kind)(self, *arguments), fields),))

    @cached_property
    def _key(self) -> bytes:
        return bytes([self.continuous]) + (np.round(self.matrices, 8) + 0.0).tobytes()

    def __eq__(self, other: object) -> bool:
        """Equal groups have the same matrices in the same order, and are both finite or both continuous."""
        return isinstance(other, Group) and self.dim == other.dim and self._key == other._key

    def __hash__(self) -> int:
        """Hash of the table of matrices."""
        return hash(self._key)

    def __reduce__(self) -> tuple[type["Group"], tuple[str, Matrix, bool]]:
        """Pickle the table alone; the rest is derived."""
        return Group, (self.name, self.matrices, self.continuous)

    def __repr__(self) -> str:
        """Print as `Group(C8: order 8, dimension 2)`."""
        size = "continuous" if self.continuous else f"order {self.order}"
        return f"Group({self.name}: {size}, dimension {self.dim})"

    def __str__(self) -> str:
        """Print the name."""
        return self.name


def rotation(angle: float) -> Matrix:
    r"""Return $R(t) = [[\cos t, -\sin t], [\sin t, \cos t]]$, counter-clockwise, `angle` in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


MIRROR: Matrix = np.diag([1.0, -1.0])
"""The reflection m that turns y to -y."""


def nearly_halves(values: Matrix) -> Matrix:
    """Return values with those next to a multiple of 1/2 exactly there, and no -0."""
    halves = np.rint(2 * values) / 2
    return np.where(np.abs(values - halves) < 1e-13, halves, values) + 0.0
