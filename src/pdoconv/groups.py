r"""Finite groups of rotations and reflections: matrices, products, inverses.

A group is an ordered table of orthogonal matrices; everything else follows from the table, in any dimension. The groups
that have names are in `pdoconv.pointgroups`.
"""

import math
from dataclasses import dataclass
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

    Raises:
        ValueError: If the matrices are not orthogonal, not distinct, not closed under the product, or do not start
            with the identity.
    """

    name: str
    matrices: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Copy the table, check it, and make it read-only."""
        m = np.array(self.matrices, dtype=np.float64)
        if m.ndim != 3 or m.shape[0] == 0 or m.shape[1] != m.shape[2]:
            raise ValueError(f"Group {self.name}: expected matrices (order, dim, dim), received shape {m.shape}.")
        halves = np.rint(2 * m) / 2  # cos(pi / 2) and its like, exactly
        m = np.where(np.abs(m - halves) < 1e-14, halves, m) + 0.0  # no -0
        m.setflags(write=False)
        object.__setattr__(self, "matrices", m)
        if not np.allclose(m @ m.transpose(0, 2, 1), np.eye(self.dim), atol=_SAME):
            raise ValueError(f"Group {self.name}: every matrix must be orthogonal.")
        if np.abs(m[0] - np.eye(self.dim)).max() > _SAME:
            raise ValueError(f"Group {self.name}: element 0 must be the identity.")
        if len(set(self.find(m).tolist())) != self.order:
            raise ValueError(f"Group {self.name}: the same matrix stands in the table twice.")
        if (self.product < 0).any():
            raise ValueError(f"Group {self.name}: not closed, a product of two elements is missing from the table.")

    @property
    def order(self) -> int:
        """Number of elements."""
        return len(self.matrices)

    @property
    def dim(self) -> int:
        """Dimension of the space that the group acts on."""
        return int(self.matrices.shape[1])

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
    def lattice_elements(self) -> tuple[int, ...]:
        """Indices of the elements that map the pixel lattice to itself: for these, layers are exactly equivariant."""
        return tuple(g for g in range(self.order) if is_lattice_symmetry(self.matrices[g]))

    def is_subgroup_of(self, other: "Group") -> bool:
        """Tell whether every element is an element of `other`, whatever the order of the tables."""
        return self.dim == other.dim and bool((other.find(self.matrices) >= 0).all())

    def check_element(self, g: int) -> int:
        """Return `g` if it is the index of an element, else raise `ValueError`."""
        if not 0 <= g < self.order:
            raise ValueError(f"{self.name} has elements 0 to {self.order - 1}, received {g}.")
        return int(g)

    def trivial(self, fields: int = 1) -> "FieldType":
        """Type of `fields` scalar fields: one channel each, which the group moves but does not mix."""
        from pdoconv.fields import FieldType

        return FieldType(self, (("trivial", fields),))

    def regular(self, fields: int = 1) -> "FieldType":
        """Type of `fields` fields on the group: `order` channels each, which the group permutes."""
        from pdoconv.fields import FieldType

        return FieldType(self, (("regular", fields),))

    @cached_property
    def _key(self) -> bytes:
        return (np.round(self.matrices, 8) + 0.0).tobytes()

    def __eq__(self, other: object) -> bool:
        """Equal groups have the same matrices in the same order."""
        return isinstance(other, Group) and self.dim == other.dim and self._key == other._key

    def __hash__(self) -> int:
        """Hash of the table of matrices."""
        return hash(self._key)

    def __reduce__(self) -> tuple[type["Group"], tuple[str, Matrix]]:
        """Pickle the table alone; the rest is derived."""
        return Group, (self.name, self.matrices)

    def __repr__(self) -> str:
        """Print as `Group(C8: order 8, dimension 2)`."""
        return f"Group({self.name}: order {self.order}, dimension {self.dim})"

    def __str__(self) -> str:
        """Print the name."""
        return self.name


def rotation(angle: float) -> Matrix:
    r"""Return $R(t) = [[\cos t, -\sin t], [\sin t, \cos t]]$, counter-clockwise, `angle` in radians."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]])


MIRROR: Matrix = np.diag([1.0, -1.0])
"""The reflection m that turns y to -y."""
