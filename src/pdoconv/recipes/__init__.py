"""Recipes: everything that a reported number depends on, one frozen dataclass each."""

from pdoconv.recipes.base import Recipe as Recipe
from pdoconv.recipes.mnist_rot_compare import MnistRotCompare as MnistRotCompare
from pdoconv.recipes.mnist_rot_small import MnistRotSmall as MnistRotSmall
from pdoconv.recipes.volumes_small import VolumesSmall as VolumesSmall

RECIPES: dict[str, type[Recipe]] = {
    "mnist-rot-small": MnistRotSmall,
    "mnist-rot-compare": MnistRotCompare,
    "volumes-small": VolumesSmall,
}
"""Recipes by the name that the command line uses."""


def recipe(name: str) -> type[Recipe]:
    """Return a recipe by name; `ValueError` for an unknown one."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}: expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]
