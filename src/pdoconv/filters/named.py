"""Filter families by name, for recipes, results and the command line."""

from collections.abc import Callable

from pdoconv import operators as ops
from pdoconv.filters.pdo import PDOFilters, paper, pdo
from pdoconv.stencils import band_limited, finite_difference, gaussian, isotropic

FAMILIES: dict[str, Callable[[], PDOFilters]] = {
    "paper": paper,
    "finite-difference": lambda: pdo(stencils=finite_difference()),
    "isotropic": lambda: pdo(stencils=isotropic()),
    "isotropic-eleven": lambda: pdo(ops.rotation_closed(ops.paper_biharmonic()), isotropic()),
    "isotropic-smooth": lambda: pdo(stencils=isotropic(smoothing=0.25)),
    "gaussian": lambda: pdo(stencils=gaussian()),
    "gaussian-raw": lambda: pdo(stencils=gaussian(corrected=False)),
    "band-limited": lambda: pdo(stencils=band_limited()),
}
"""Families of the plane: `paper` as published, the others thirteen (or eleven) operators in an orthonormal basis."""


def family(name: str) -> PDOFilters:
    """Return a family by name.

    Raises:
        ValueError: If the name is not known.

    >>> family("paper") == paper()
    True
    """
    if name not in FAMILIES:
        raise ValueError(f"Unknown filter family {name!r}: expected one of {', '.join(FAMILIES)}.")
    return FAMILIES[name]()
