"""MNIST-rot with a small network of any system of the comparison, all trained alike."""

from dataclasses import dataclass
from typing import Literal

from torch import nn

from pdoconv.data import MnistRot, mnist_rot
from pdoconv.models import create
from pdoconv.recipes.base import Recipe
from pdoconv.recipes.systems import system


@dataclass(frozen=True)
class MnistRotCompare(Recipe):
    """Settings of a run; the highest learning rate is chosen for each system, see `pdoconv.compare`."""

    system: str = "pdo-gaussian"
    """A name of `pdoconv.recipes.systems.SYSTEMS`."""
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"

    classes = 10
    image_shape = (28, 28)
    title = "MNIST-rot, small networks of all systems"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        system(self.system)

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        row = system(self.system)
        return create(row.model, **row.config)

    def data(self) -> MnistRot:
        """Return the data set."""
        return mnist_rot()
