"""Recipes: everything that a reported number depends on, one frozen dataclass each."""

from pdoconv.recipes.mnist_rot_small import MnistRotSmall as MnistRotSmall

RECIPES = {"mnist-rot-small": MnistRotSmall}
"""Recipes by the name that the command line uses."""


def recipe(name: str) -> type[MnistRotSmall]:
    """Return a recipe by name; `ValueError` for an unknown one."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}: expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]
