r"""The point groups of the line, the plane and space, by name.

On the plane $C_n$ element k is $R(2\pi k/n)$; $D_n$ element $g = s n + k$ is $R(2\pi k/n)\, m^s$,
$m = \mathrm{diag}(1,-1)$.

In space the principal axis is z. Axial groups are products in the same order: rotations k about z first, then those
times a second generator, and so on. The axes of the cube are x, y, z; tetrahedral groups are subgroups of the cube's,
and the icosahedron has twofold axes along x, y, z too. With inversion, element $|G|/2 + k$ is minus element k.
"""

import math
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from pdoconv.grid import Matrix
from pdoconv.groups import MIRROR, Group, rotation

LARGEST = 1000  # elements; a set of generators that makes more is taken for one that does not close

_SAMPLES = 64  # rotations in the table of a continuous group

_TURN_X = np.diag([1.0, -1.0, -1.0])  # half turn about x
_MIRROR_Y, _MIRROR_Z = np.diag([1.0, -1.0, 1.0]), np.diag([1.0, 1.0, -1.0])

INTERNATIONAL = {
    **{"1": "C1", "-1": "Ci", "2": "C2", "m": "Cs", "2/m": "C2h", "222": "D2", "mm2": "C2v", "mmm": "D2h"},
    **{"4": "C4", "-4": "S4", "4/m": "C4h", "422": "D4", "4mm": "C4v", "-42m": "D2d", "4/mmm": "D4h"},
    **{"3": "C3", "-3": "S6", "32": "D3", "3m": "C3v", "-3m": "D3d"},
    **{"6": "C6", "-6": "C3h", "6/m": "C6h", "622": "D6", "6mm": "C6v", "-6m2": "D3h", "6/mmm": "D6h"},
    **{"23": "T", "m-3": "Th", "432": "O", "-43m": "Td", "m-3m": "Oh", "532": "I", "235": "I", "-5-3m": "Ih"},
    **{"-4m2": "D2d", "-62m": "D3h", "m-3-5": "Ih"},  # other settings, other spelling
}
"""Schoenflies names of the 32 crystallographic and the icosahedral point groups by their Hermann-Mauguin names."""


def generate(name: str, generators: Sequence[Matrix]) -> Group:
    """Return the group that some orthogonal matrices generate: the identity first, then by number of factors.

    Raises:
        ValueError: If there are more than 1000 elements, as when the generators do not close, or none is given.

    >>> generate("C4", [rotation(math.pi / 2)]).order
    4
    """
    if not generators:
        raise ValueError(f"Group {name}: expected at least one generator, received none.")
    elements = [np.eye(len(generators[0]))]
    known = {_key(elements[0])}
    for element in elements:  # grows on the way
        for generator in generators:
            product = element @ generator
            if _key(product) not in known:
                known.add(_key(product))
                elements.append(product)
        if len(elements) > LARGEST:
            raise ValueError(f"Group {name}: the generators make more than {LARGEST} elements: they do not close.")
    return Group(name, np.stack(elements))


def _key(matrix: Matrix) -> tuple[int, ...]:
    return tuple(int(i) for i in np.rint(matrix.ravel() * 1e6))


def _extended(name: str, group: Group, element: Matrix) -> Group:
    """Return the group with twice the elements: the old ones, then their products with a new one."""
    return Group(name, np.concatenate([group.matrices, group.matrices @ element]))


@lru_cache(maxsize=256, typed=True)
def cyclic(n: int, dim: int = 2) -> Group:
    """Return $C_n$: the rotations by multiples of 360/n degrees (`p4`, `p6`, `p8` for n = 4, 6, 8), in space about z.

    Args:
        n: Number of rotations; on the line only 1, the identity.
        dim: Dimension of space, 1, 2 or 3.

    Raises:
        ValueError: If n is not a whole number of at least 1, or there is no such group in `dim` dimensions.

    >>> cyclic(8), cyclic(4, dim=3)
    (Group(C8: order 8, dimension 2), Group(C4: order 4, dimension 3))
    >>> cyclic(4).is_subgroup_of(cyclic(8)), cyclic(3).is_subgroup_of(cyclic(8))
    (True, False)
    """
    if dim not in (1, 2, 3) or (dim == 1 and _positive(n) != 1):
        raise ValueError(f"cyclic: expected dim 2 or 3, or n=1 on the line, received n={n!r}, dim={dim!r}.")
    turns = np.stack([rotation(2 * math.pi * k / n) for k in range(_positive(n))])
    table = np.tile(np.eye(dim), (n, 1, 1))
    if dim > 1:
        table[:, :2, :2] = turns
    return Group(f"C{n}", table)


@lru_cache(maxsize=256, typed=True)
def dihedral(n: int, dim: int = 2) -> Group:
    """Return $D_n$: the symmetries of a regular n-gon.

    On the plane n rotations and n reflections (`p4m`, `p6m` for n = 4, 6); in space n rotations about z and n half
    turns about horizontal axes, the first about x.

    Raises:
        ValueError: If n is not a whole number of at least 1, or `dim` is not 2 or 3.

    >>> dihedral(6).order, dihedral(6, dim=3).order
    (12, 12)
    """
    if dim not in (2, 3):
        raise ValueError(f"dihedral: expected dim 2 or 3, received {dim!r}.")
    return _extended(f"D{n}", cyclic(_positive(n), dim), MIRROR if dim == 2 else _TURN_X)


@lru_cache(maxsize=1)
def so2() -> Group:
    """Return SO(2), all rotations of the plane: fields are trivial, vectors, or of a frequency, `so2().irrep(k, n)`.

    The table holds 64 rotations, so that averages of frequencies below 64 are exact.

    >>> so2(), cyclic(5).is_subgroup_of(so2())
    (Group(SO2: continuous, dimension 2), True)
    """
    return Group("SO2", cyclic(_SAMPLES).matrices, continuous=True)


@lru_cache(maxsize=1)
def o2() -> Group:
    """Return O(2), all rotations and reflections of the plane; as `so2`."""
    return Group("O2", dihedral(_SAMPLES).matrices, continuous=True)


@lru_cache(maxsize=1)
def reflection() -> Group:
    """Return the group of the line, {1, -1}.

    >>> reflection()
    Group(Ci: order 2, dimension 1)
    """
    return Group("Ci", np.array([[[1.0]], [[-1.0]]]))


@lru_cache(maxsize=2)
def tetrahedral(inversion: bool = False) -> Group:
    """Return T, the 12 rotations of the tetrahedron; with inversion $T_h$ (24).

    >>> tetrahedral(), tetrahedral(inversion=True)
    (Group(T: order 12, dimension 3), Group(Th: order 24, dimension 3))
    """
    cycle = np.roll(np.eye(3), 1, axis=0)  # x to y to z to x
    return _with_inversion(generate("T", [_TURN_X, cycle]), inversion)


@lru_cache(maxsize=2)
def octahedral(inversion: bool = False) -> Group:
    """Return O, the 24 rotations of the cube; with inversion $O_h$ (48). All are symmetries of the voxel grid.

    >>> octahedral(), octahedral(inversion=True)
    (Group(O: order 24, dimension 3), Group(Oh: order 48, dimension 3))
    """
    return _with_inversion(_extended("O", tetrahedral(), cyclic(4, dim=3).matrices[1]), inversion)


@lru_cache(maxsize=2)
def icosahedral(inversion: bool = False) -> Group:
    """Return I, the 60 rotations of the icosahedron; with inversion $I_h$ (120).

    >>> icosahedral(), tetrahedral().is_subgroup_of(icosahedral())
    (Group(I: order 60, dimension 3), True)
    """
    golden = (1 + math.sqrt(5)) / 2  # a vertex is (0, 1, golden): the fifth of a turn about it
    fifth = np.array([[golden - 1, -golden, 1], [golden, 1, golden - 1], [-1, golden - 1, golden]]) / 2
    return _with_inversion(generate("I", [*tetrahedral().matrices[1:3], fifth]), inversion)


def _with_inversion(group: Group, inversion: bool) -> Group:
    return _extended(f"{group.name}h", group, -np.eye(3)) if inversion else group


@lru_cache(maxsize=256, typed=True)
def group(name: str, dim: int | None = None) -> Group:
    """Return a group by name.

    * Plane: `"C8"`, `"D4"`, or the wallpaper-like `"p8"` ($C_8$), `"p6m"` ($D_6$).
    * Space, Schoenflies: Cn, Cnv, Cnh, S2n, Dn, Dnd, Dnh, Cs, Ci, T, Td, Th, O, Oh, I, Ih, such as `"D4h"`;
      `"C4"` and `"D4"` with `dim=3`. Hermann-Mauguin: those of the crystallographic and icosahedral groups, `"m-3m"`.
    * Line: `"C1"` and `"Ci"` with `dim=1`.
    * All rotations of the plane, and with reflections: `"SO2"`, `"O2"`.

    Args:
        name: The name.
        dim: Dimension of space; default 2 for the names of the plane, otherwise 3.

    Raises:
        ValueError: If the name is not known in that dimension.

    >>> group("p6m") == dihedral(6), group("D4") == group("p4m"), group("p8") == cyclic(8)
    (True, True, True)
    >>> group("m-3m") == octahedral(inversion=True), group("D2d").order, group("C4", dim=3).dim
    (True, 8, 3)
    """
    text = str(name)
    wallpaper = re.fullmatch(r"p(\d+)(m?)", text)
    plain = re.fullmatch(r"([CD])(\d+)", text)
    if wallpaper and dim in (None, 2):
        return (dihedral if wallpaper[2] else cyclic)(int(wallpaper[1]))
    if plain and dim in (None, 2):
        return (dihedral if plain[1] == "D" else cyclic)(int(plain[2]))
    if text in ("SO2", "O2") and dim in (None, 2):
        return so2() if text == "SO2" else o2()
    if dim == 1 and text in ("C1", "Ci"):
        return reflection() if text == "Ci" else cyclic(1, dim=1)
    found = _spatial(INTERNATIONAL.get(text, text)) if dim in (None, 3) else None
    if found is None:
        raise ValueError(
            f"Unknown group {name!r} (dim={dim}): expected 'C8', 'D4', 'p8' (= C8), 'p6m' (= D6) or the like on the "
            f"plane; in space a Schoenflies name such as 'D4h' or 'Oh', or a Hermann-Mauguin name such as 'm-3m'."
        )
    return found


def _spatial(name: str) -> Group | None:
    """Return a group of space by its Schoenflies name."""
    inverted = {"T": tetrahedral, "O": octahedral, "I": icosahedral}
    if name[:1] in inverted and name[1:] in ("", "h"):
        return inverted[name[0]](name[1:] == "h")
    match = re.fullmatch(r"([CDS])(\d+)([vhd]?)", name)
    if match is None and name not in ("Td", "Ci", "Cs"):
        return None
    n = int(match[2]) if match else 1
    kind = match[1] + match[3] if match else name
    roto_reflection = cyclic(2 * _positive(n), dim=3).matrices[1] @ _MIRROR_Z
    match kind:
        case "Td":
            return _extended(name, tetrahedral(), cyclic(4, dim=3).matrices[1] @ _MIRROR_Z)
        case "Ci":
            return _extended(name, cyclic(1, dim=3), -np.eye(3))
        case "Cs":
            return _extended(name, cyclic(1, dim=3), _MIRROR_Z)
        case "C":
            return cyclic(n, dim=3)
        case "D":
            return dihedral(n, dim=3)
        case "Cv":
            return _extended(name, cyclic(n, dim=3), _MIRROR_Y)
        case "Ch":
            return _extended(name, cyclic(n, dim=3), _MIRROR_Z)
        case "Dh":
            return _extended(name, dihedral(n, dim=3), _MIRROR_Z)
        case "Dd":
            return _extended(name, dihedral(n, dim=3), roto_reflection)
        case "S" if n % 2 == 0:
            half = cyclic(n // 2, dim=3)
            return _extended(name, half, cyclic(n, dim=3).matrices[1] @ _MIRROR_Z)
    return None


def _positive(n: int) -> int:
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(f"The number of rotations must be a whole number of at least 1, received {n!r}.")
    return n
