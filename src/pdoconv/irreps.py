r"""Real irreducible representations of a finite group, found from its table.

A symmetric function on the group, convolved from the right, commutes with all left translations; the eigenspaces of a
generic one are irreducible subspaces of the regular representation, and every irreducible representation is among them.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pdoconv.groups import Group

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


@lru_cache(maxsize=64)
def irreps(group: Group) -> tuple[Irrep, ...]:
    """Return the real irreducible representations, the trivial one first, then by dimension.

    Elements that only change signs of coordinates have diagonal matrices, so parities are easy to see.

    >>> from pdoconv import cyclic, dihedral
    >>> [(r.dim, r.complex) for r in irreps(cyclic(5))], [r.dim for r in irreps(dihedral(4))]
    ([(1, False), (2, True), (2, True)], [1, 1, 1, 1, 2])
    """
    n = group.order
    random = np.random.Generator(np.random.PCG64(0)).standard_normal(n)
    symmetric = random + random[group.inverse]
    values, vectors = np.linalg.eigh(symmetric[group.relative])
    found: dict[tuple[float, ...], Irrep] = {}
    for space in np.split(vectors, np.flatnonzero(np.diff(values) > 1e-6 * np.ptp(values)) + 1, axis=1):
        # (h f)(g) = f(h^-1 g)
        matrices = np.einsum("gi,hgj->hij", space, space[group.relative])
        character = np.trace(matrices, axis1=1, axis2=2)
        norm = float(character @ character / n)  # 1 for a real one, 2 for a complex pair
        if abs(norm - 1) > 1e-6 and abs(norm - 2) > 1e-6:
            raise ValueError(f"{group}: no real irreducible representations of real or complex type found.")
        key = tuple(np.round(character, 6) + 0.0)
        if key not in found:
            found[key] = Irrep(_adapted(group, matrices), norm > 1.5)
    return tuple(r for _, r in sorted(found.items(), key=lambda item: (item[1].dim, [-c for c in item[0]])))


def _adapted(group: Group, matrices: Array) -> Array:
    """Turn a representation so that sign changes of coordinates, then further elements, are diagonal where possible."""
    diagonal = np.abs(group.matrices * (1 - np.eye(group.dim))).max(axis=(1, 2)) < 1e-9
    spaces = [np.eye(matrices.shape[1])]
    for h in (*np.flatnonzero(diagonal), *np.flatnonzero(~diagonal)):
        if all(space.shape[1] == 1 for space in spaces):
            break
        finer: list[Array] = []
        for space in spaces:
            values, vectors = np.linalg.eigh(space.T @ (matrices[h] + matrices[h].T) @ space)
            finer += np.split(space @ vectors, np.flatnonzero(np.diff(values) > 1e-6) + 1, axis=1)
        spaces = finer
    basis = np.concatenate(spaces, axis=1)
    turned: Array = np.einsum("ia,hij,jb->hab", basis, matrices, basis)
    return np.where(np.abs(turned) < 1e-13, 0.0, turned)
