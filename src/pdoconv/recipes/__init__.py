"""Recipes: everything that a reported number depends on, one frozen dataclass each."""

from pdoconv.recipes.base import Recipe as Recipe
from pdoconv.recipes.cifar import NETWORKS as COLOUR
from pdoconv.recipes.cifar import Cifar10 as Cifar10
from pdoconv.recipes.cifar import Cifar10Authors as Cifar10Authors
from pdoconv.recipes.cifar import Cifar100 as Cifar100
from pdoconv.recipes.cifar import Cifar100Authors as Cifar100Authors
from pdoconv.recipes.cifar import Stl10 as Stl10
from pdoconv.recipes.mnist_rot_compare import MnistRotCompare as MnistRotCompare
from pdoconv.recipes.mnist_rot_large import MnistRotLarge as MnistRotLarge
from pdoconv.recipes.mnist_rot_small import MnistRotSmall as MnistRotSmall
from pdoconv.recipes.pictures import Pictures as Pictures
from pdoconv.recipes.volumes_small import VolumesSmall as VolumesSmall

RECIPES: dict[str, type[Recipe]] = {
    "mnist-rot-small": MnistRotSmall,
    "mnist-rot-large": MnistRotLarge,
    "mnist-rot-compare": MnistRotCompare,
    "volumes-small": VolumesSmall,
    "cifar10": Cifar10,
    "cifar10-authors": Cifar10Authors,
    "cifar100": Cifar100,
    "cifar100-authors": Cifar100Authors,
    "stl10": Stl10,
    "pictures": Pictures,
}
"""Recipes by the name that the command line uses."""
GRAY = {"pdo-mnist-small": "mnist-rot-small", "pdo-mnist-large": "mnist-rot-large"}


def recipe(name: str) -> type[Recipe]:
    """Return a recipe by name; `ValueError` for an unknown one."""
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}: expected one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def recipe_of(network: str) -> tuple[str, dict[str, str]]:
    """Return the recipe that trains a network of `pdoconv.models`, and its settings; the name itself of a recipe.

    >>> recipe_of("pdo-resnet44-p8"), recipe_of("cifar100")
    (('cifar10', {'network_name': 'pdo-resnet44-p8'}), ('cifar100', {}))
    """
    if network in GRAY:
        return GRAY[network], {}
    if network in COLOUR:
        return "cifar10", {"network_name": network}
    return network, {}
