r"""Orthogonal representations of a group: how an element mixes the channels of one field.

A field f of representation $\rho$ moves as $(g f)(x) = \rho(g)\, f(g^{-1} x)$.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from pdoconv.grid import Matrix
from pdoconv.groups import Group, Table
from pdoconv.irreps import irreps, planar

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Representation:
    r"""An orthogonal representation $\rho$ of a group.

    `group.irrep(k, n)` and its like make the usual ones; for your own, put `((representation, n), ...)` into a
    `FieldType`.

    Args:
        group: The group.
        name: Printed name.
        table: Matrices `(|G|, D, D)`; or integers `(|G|, D)`, for one that only permutes channels:
            `(g f)[c] = f[table[g, c]]`.

    Attributes:
        dim: Number of channels D of a field.
        permutes: Whether the group only permutes the channels.

    Raises:
        ValueError: If the table is not an orthogonal representation of the group.
    """

    group: Group
    name: str
    table: Array | Table
    dim: int = field(init=False)
    permutes: bool = field(init=False)

    def __post_init__(self) -> None:
        """Copy the table, check it, and make it read-only."""
        table, order, product = np.array(self.table), self.group.order, self.group.product
        if table.ndim not in (2, 3) or len(table) != order or (table.ndim == 3 and table.shape[1] != table.shape[2]):
            raise ValueError(
                f"Representation {self.name}: expected matrices ({order}, D, D) or permutations ({order}, D) for "
                f"{self.group}, received shape {table.shape}."
            )
        if table.ndim == 3 and np.abs(table.max(axis=2) - 1).max() < 1e-9:
            table = table.argmax(axis=2)
        table.setflags(write=False)
        for name, value in (("table", table), ("dim", table.shape[1]), ("permutes", table.ndim == 2)):
            object.__setattr__(self, name, value)
        if table.ndim == 2:
            right = (np.sort(table) == np.arange(self.dim)).all() and all(
                (table[:, row] == table[product[g]]).all() for g, row in enumerate(table)
            )
        else:
            probe = table @ np.cos(np.arange(1, self.dim + 1))
            right = np.allclose(np.einsum("gij,hj->ghi", table, probe), probe[product], atol=1e-9)
            right &= np.allclose(table @ table.transpose(0, 2, 1), np.eye(self.dim), atol=1e-9)
        usual = {"trivial": np.zeros((order, 1)), "regular": self.group.relative}
        if not right or not np.array_equal(usual.get(self.name, table), table):
            raise ValueError(f"Representation {self.name}: the table is not an orthogonal one of {self.group}.")
        if order > 1 and np.array_equal(table, self.group.relative):
            object.__setattr__(self, "name", "regular")
        elif self.permutes and self.dim == 1 and self.name != "regular":  # of one element both are the same table
            object.__setattr__(self, "name", "trivial")

    @property
    def permutation(self) -> Table | None:
        """The table of a representation that permutes channels, else `None`."""
        return cast(Table, self.table) if self.permutes else None

    @cached_property
    def matrices(self) -> Array:
        """`(|G|, D, D)`."""
        return cast(Array, self.table if self.table.ndim == 3 else np.eye(self.dim)[self.table])

    @property
    def signed(self) -> bool:
        """Whether the group only permutes channels and changes their signs."""
        return bool(np.isin(self.matrices, (-1.0, 0.0, 1.0)).all())

    @cached_property
    def invariant(self) -> Array:
        """Rows that span the vectors that no element moves, `(n, D)`: for one that permutes, ones on each orbit."""
        if self.permutation is not None:
            orbits = {tuple(np.unique(places)): None for places in self.permutation.T}
            return np.array([np.isin(np.arange(self.dim), places) for places in orbits], dtype=np.float64)
        projector = self.matrices.mean(0)
        rows: list[Array] = []
        for row in projector:  # a row has its largest entry on the diagonal
            if np.linalg.matrix_rank(np.array([*rows, row]), tol=1e-6) > len(rows):
                rows.append(row / np.abs(row).max())
        return np.array(rows).reshape(-1, self.dim)

    def at(self, matrix: Matrix) -> Array:
        """Return the matrix `(D, D)` of a motion given by its orthogonal matrix.

        Fields that no element changes, and vectors, have one for every motion, those of continuous groups for every
        angle.

        Raises:
            ValueError: If the motion is not in the group.
        """
        if self.dim > 1 and self == vector(self.group):  # first: in a group of one element they too are never changed
            return np.asarray(matrix)
        if (self.table == self.table[0]).all():  # every element acts as the first, the identity
            return np.eye(self.dim)
        frequency = _frequency(self) if self.group.continuous else None
        if frequency is not None and self.group.contains(matrix):
            return np.asarray(planar(self.group, np.asarray(matrix)[None], *frequency)[0])
        found = int(self.group.find(np.asarray(matrix)[None])[0])
        if found < 0 or self.group.continuous:
            raise ValueError(
                f"Fields of {self.group} ({self.name}) cannot be moved by\n{matrix}\nwhich is no element of the group. "
                f"Use one of its elements; trivial and vector fields can be moved by any."
            )
        return np.asarray(self.matrices[found])

    @cached_property
    def _key(self) -> bytes:
        table = self.table if self.table.ndim == 2 else np.round(self.table, 8) + 0.0
        return f"{self.name == 'regular'}{table.shape}".encode() + table.tobytes()

    def __eq__(self, other: object) -> bool:
        """Equal representations have the same group and the same table; fields of C1 are regular or trivial by name."""
        return isinstance(other, Representation) and self.group == other.group and self._key == other._key

    def __hash__(self) -> int:
        """Hash of group and table."""
        return hash((self.group, self._key))

    def __reduce__(self) -> tuple[type["Representation"], tuple[Group, str, Array | Table]]:
        """Pickle the table alone; the rest is derived."""
        return Representation, (self.group, self.name, self.table)

    def __repr__(self) -> str:
        """Print as `Representation(C8: irrep(2), 2 channels)`."""
        return f"Representation({self.group}: {self.name}, {self.dim} channels)"


LARGEST_FREQUENCY = 24  # of a continuous group: two of these and an operator of order 15 average exactly over 64


def trivial(group: Group) -> Representation:
    """Return the representation that leaves its one channel alone."""
    return Representation(group, "trivial", np.zeros((group.order, 1), dtype=np.int64))


@lru_cache(maxsize=64)
def regular(group: Group) -> Representation:
    r"""Return the regular representation, $(g f)[h] = f[g^{-1} h]$; `ValueError` for a continuous group."""
    _require_finite(group, "a regular field")
    return Representation(group, "regular", group.relative)


@lru_cache(maxsize=64)
def quotient(group: Group, subgroup: Group) -> Representation:
    r"""Return the representation on the cosets of a subgroup H, $(g f)[a H] = f[g^{-1} a H]$, by first elements."""
    _require_finite(group, "a quotient field")
    if not isinstance(subgroup, Group) or not subgroup.is_subgroup_of(group):
        raise ValueError(f"quotient: expected a subgroup of {group}, received {subgroup!r}.")
    if subgroup.order == 1:
        return regular(group)
    if subgroup.order == group.order:
        return trivial(group)
    smallest = group.product[:, group.find(subgroup.matrices)].min(axis=1)  # of the coset of each element
    firsts, coset = np.unique(smallest, return_inverse=True)
    return Representation(group, f"quotient({subgroup})", coset[group.relative[:, firsts]])


@lru_cache(maxsize=64)
def vector(group: Group) -> Representation:
    """Return the representation of vectors, by the group's own matrices."""
    return Representation(group, "vector", group.matrices)


@lru_cache(maxsize=256, typed=True)
def irrep(group: Group, k: int, pseudo: bool = False) -> Representation:
    """Return the real irreducible representation k, `Group.irrep` says which; with `pseudo` times the determinant."""
    last = _last(group)
    if isinstance(k, bool) or not isinstance(k, int) or not 0 <= k <= last:
        raise ValueError(f"irrep: {group} has irreducible representations 0 to {last}, received {k!r}.")
    pseudo = bool(pseudo and group.mirrors.any())
    if k == 0 and not pseudo:
        return trivial(group)
    name = f"irrep({k}{', pseudo' * pseudo})"
    if group.dim == 2:
        return Representation(group, name, planar(group, group.matrices, k, pseudo))
    matrices = irreps(group)[k].matrices
    return Representation(group, name, np.where((group.mirrors & pseudo)[:, None, None], -matrices, matrices))


def restrict(whole: Representation, subgroup: Group) -> tuple[Representation, ...]:
    """Return what a representation is under a subgroup: the channels stay, in order, as one or more fields.

    Runs of channels that the subgroup does not mix with others are fields of their own.

    Raises:
        ValueError: If it is not a subgroup.
    """
    if not isinstance(subgroup, Group) or not subgroup.is_subgroup_of(whole.group):
        raise ValueError(f"restrict: expected a subgroup of {whole.group}, received {subgroup!r}.")
    matrices = np.stack([whole.at(matrix) for matrix in subgroup.matrices])
    mixed = np.abs(matrices).max(axis=0) > 1e-9
    starts = [c for c in range(whole.dim) if not mixed[:c, c:].any()]
    ends = [*starts[1:], whole.dim]
    return tuple(
        _named(subgroup, matrices[:, a:b, a:b], f"{whole.name} of {whole.group}")
        for a, b in zip(starts, ends, strict=True)
    )


def _named(group: Group, matrices: Array, name: str) -> Representation:
    """Return the usual representation of these matrices, or one of this name."""
    found = Representation(group, name, matrices)
    if not found.permutes:
        every = (irrep(group, *which) for which in _irreps(group))
        return next((r for r in (vector(group), *every) if r == found), found)
    usual = orbit(found, 0)
    return usual if usual == found else found


def orbit(kind: Representation, channel: int) -> Representation:
    """Return the quotient representation on the places that a channel of a permuted field is carried to."""
    assert kind.permutation is not None
    stays = kind.group.matrices[kind.permutation[:, channel] == channel]
    if len(stays) == kind.group.order:
        return trivial(kind.group)
    mirrored = bool((np.linalg.det(stays) < 0).any())
    plane = f"{'D' if mirrored else 'C'}{len(stays) // (1 + mirrored)}"
    return quotient(kind.group, Group(plane if kind.group.dim == 2 else f"order {len(stays)}", stays))


@lru_cache(maxsize=256)
def _frequency(kind: Representation) -> tuple[int, bool] | None:
    """Return (k, pseudo) of an irreducible representation of the plane, which is known at every angle."""
    return next((which for which in _irreps(kind.group) if irrep(kind.group, *which) == kind), None)


def _irreps(group: Group) -> list[tuple[int, bool]]:
    """List k and pseudo of all that `irrep` knows."""
    return [(k, pseudo) for k in range(_last(group) + 1) for pseudo in (False, True)]


def _last(group: Group) -> int:
    """Return the largest k of `irrep`."""
    if group.dim != 2:
        return len(irreps(group)) - 1
    return LARGEST_FREQUENCY if group.continuous else int((~group.mirrors).sum()) // 2


def _require_finite(group: Group, what: str) -> None:
    if group.continuous:
        raise ValueError(
            f"{group} has no end of elements, so {what} needs a finite subgroup: use irrep(k) or vector()."
        )
