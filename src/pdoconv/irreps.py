r"""Real irreducible representations, in a fixed basis.

On the plane they are the frequencies k of the rotations, in closed form. For other groups they are found from the
table: a symmetric function on the group, convolved from the right, commutes with all left translations; the eigenspaces
of a generic one are irreducible subspaces of the regular representation, and every irreducible representation is among
them. A basis is then chosen that depends on the group alone, so that numbers mean the same on every machine.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.grid import Matrix
from pdoconv.groups import MIRROR, Group, nearly_halves

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Irrep:
    r"""A real irreducible representation.

    Attributes:
        matrices: `(|G|, D, D)`, orthogonal.
        complex: Whether it is the real form of a complex pair (every matrix commutes with a quarter turn), as the
            frequencies of C_n are. The regular representation holds D copies of a real one, D/2 of a complex one.
    """

    matrices: Array
    complex: bool

    @property
    def dim(self) -> int:
        """Dimension D."""
        return int(self.matrices.shape[1])

    @property
    def copies(self) -> int:
        """How often the regular representation holds it."""
        return self.dim // 2 if self.complex else self.dim

    def fourier(self) -> Array:
        r"""Return rows of the real Fourier transform $(D, copies, |G|)$: $\hat x_{cd} = \sum_h U_{cd}(h)\, x(h)$.

        Each column d transforms by the representation when x is moved: $\hat{gx}_{cd} = \sum_{c'} \Lambda(g)_{cc'}
        \hat x_{c'd}$. The rows of all irreducible representations together are an orthonormal basis.
        """
        rows = self.matrices[:, :, : self.copies] * np.sqrt(self.dim / len(self.matrices))
        return np.ascontiguousarray(rows.transpose(1, 2, 0))


def planar(group: Group, matrices: Matrix, k: int, pseudo: bool = False) -> Array:
    r"""Return frequency k of a group of the plane at motions `(n, 2, 2)`: $R(k t)\, m^s$ at $R(t)\, m'^s$.

    m' is the first reflection of the table and m = diag(1, -1). One-dimensional, $\cos k t$, for k = 0 and half the
    number of rotations. `pseudo` multiplies by the determinant.
    """
    mirrors = group.matrices[group.mirrors]
    flipped = np.linalg.det(matrices) < 0
    turned = np.where(flipped[:, None, None], matrices @ (mirrors[0] if len(mirrors) else MIRROR), matrices)
    t = k * np.arctan2(turned[:, 1, 0], turned[:, 0, 0])
    if k == 0 or (not group.continuous and 2 * k == group.order - len(mirrors)):
        values = np.rint(np.cos(t))[:, None, None]
    else:
        c, s = np.cos(t), np.sin(t)
        values = np.stack([c, -s, s, c], axis=-1).reshape(-1, 2, 2)
        values = np.where(flipped[:, None, None], values @ MIRROR, values)
    return nearly_halves(np.where(flipped[:, None, None], -values, values) if pseudo else values)


@lru_cache(maxsize=64)
def irreps(group: Group) -> tuple[Irrep, ...]:
    """Return the real irreducible representations, the trivial one first, then by dimension.

    Elements that only change signs of coordinates have diagonal matrices, so parities are easy to see. The one that
    acts as the group itself does, if it is irreducible, has the group's own matrices.

    >>> from pdoconv import cyclic, dihedral
    >>> [(r.dim, r.complex) for r in irreps(cyclic(5))], [r.dim for r in irreps(dihedral(4))]
    ([(1, False), (2, True), (2, True)], [1, 1, 1, 1, 2])
    """
    return _planar(group) if group.dim == 2 else _from_table(group)


def _planar(group: Group) -> tuple[Irrep, ...]:
    n = int((~group.mirrors).sum())
    mirrored = n < group.order
    found: dict[bytes, Irrep] = {}
    for k in (0, *([n // 2] if n % 2 == 0 else []), *range(1, (n + 1) // 2)):
        for pseudo in (False, True) if mirrored and k in (0, n / 2) else (False,):
            matrices = planar(group, group.matrices, k, pseudo)
            found[matrices.tobytes()] = Irrep(matrices, matrices.shape[1] == 2 and not mirrored)
    return tuple(found.values())


def _from_table(group: Group) -> tuple[Irrep, ...]:
    n = group.order
    generic = np.cos(np.arange(1, n + 1) ** 2)
    symmetric = generic + generic[group.inverse]
    values, vectors = np.linalg.eigh(symmetric[group.relative])
    found: dict[tuple[float, ...], Irrep] = {}
    itself = np.trace(group.matrices, axis1=1, axis2=2)
    for space in np.split(vectors, np.flatnonzero(np.diff(values) > 1e-10 * np.ptp(values)) + 1, axis=1):
        # (h f)(g) = f(h^-1 g)
        matrices = np.einsum("gi,hgj->hij", space, space[group.relative])
        character = np.trace(matrices, axis1=1, axis2=2)
        norm = float(character @ character / n)  # 1 for a real one, 2 for a complex pair
        if abs(norm - 1) > 1e-6 and abs(norm - 2) > 1e-6:
            raise ValueError(f"{group}: no real irreducible representations of real or complex type found.")
        key = tuple(np.round(character, 6) + 0.0)
        if key not in found:
            own = np.abs(character - itself).max() < 1e-6
            found[key] = Irrep(group.matrices if own else _canonical(group, matrices), norm > 1.5)
    return tuple(r for _, r in sorted(found.items(), key=lambda item: (item[1].dim, [-c for c in item[0]])))


def _canonical(group: Group, matrices: Array) -> Array:
    """Turn an irreducible representation into a basis that depends on the group alone.

    The spaces split by sign changes of coordinates, then by further elements, come in an order; the first vector of the
    first space fixes the others, each as the part in its space of the first moved copy that has one. What is left to
    choose (a sign, or a phase of a complex pair) changes no matrix.
    """
    spaces = _split(group, matrices)
    copies = matrices @ spaces[0][:, 0]
    if spaces[0].shape[1] == 1:
        return _in_basis(matrices, np.stack([_first_part(copies, space) for space in spaces], axis=1))
    # a complex pair: the quarter turn J that commutes with all, towards the first copy with a part along it
    turn = spaces[0] @ np.array([[0.0, -1.0], [1.0, 0.0]]) @ spaces[0].T
    commuting = np.einsum("hij,jk,hlk->il", matrices, turn, matrices)
    commuting /= np.linalg.norm(commuting @ spaces[0][:, 0])
    along = copies @ commuting @ spaces[0][:, 0]
    commuting = commuting * np.sign(along[np.abs(along) > 1e-6][0])
    firsts = [_first_part(copies, space) for space in spaces]
    return _in_basis(matrices, np.stack([v for first in firsts for v in (first, commuting @ first)], axis=1))


def _split(group: Group, matrices: Array) -> list[Array]:
    """Split the space by eigenvalues, largest first, of sign changes of coordinates, then of further elements."""
    diagonal = np.abs(group.matrices * (1 - np.eye(group.dim))).max(axis=(1, 2)) < 1e-9
    spaces = [np.eye(matrices.shape[1])]
    for h in (*np.flatnonzero(diagonal), *np.flatnonzero(~diagonal)):
        if all(space.shape[1] == 1 for space in spaces):
            break
        finer: list[Array] = []
        for space in spaces:
            values, vectors = np.linalg.eigh(-space.T @ (matrices[h] + matrices[h].T) @ space)
            finer += np.split(space @ vectors, np.flatnonzero(np.diff(values) > 1e-6) + 1, axis=1)
        spaces = finer
    return spaces


def _first_part(copies: Array, space: Array) -> Array:
    """Return the unit part in a space of the first vector that has one."""
    parts = copies @ space @ space.T
    sizes = np.linalg.norm(parts, axis=1)
    first = int(np.flatnonzero(sizes > 1e-6)[0])
    return np.asarray(parts[first] / sizes[first])


def _in_basis(matrices: Array, basis: Array) -> Array:
    return nearly_halves(np.einsum("ia,hij,jb->hab", basis, matrices, basis))
