"""MNIST-rot with a network of the 0.65M parameters of the authors' large one (published: 0.709%, with augmentation)."""

from dataclasses import dataclass

from torch import nn

from pdoconv.data import MnistRot, mnist_rot
from pdoconv.filters import family
from pdoconv.models import create
from pdoconv.pointgroups import cyclic, dihedral
from pdoconv.recipes.base import Recipe, require_network


@dataclass(frozen=True)
class MnistRotLarge(Recipe):
    """Settings of a run; training images are turned anew in every epoch."""

    epochs: int = 60
    lr: float = 5e-3
    weight_decay: float = 0.05
    label_smoothing: float = 0.0
    ema: float = 0.998
    rotate: float = 180.0
    dropout: float = 0.3
    filters: str = "gaussian"
    """A name of `pdoconv.filters.FAMILIES`."""
    mirror: bool = False
    """D16, restricted to C16 before the last convolution, with as many parameters, instead of C16."""

    classes = 10
    image_shape = (28, 28)
    title = "MNIST-rot, large network"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        require_network(1, self.dropout)
        family(self.filters)

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        mirrored = {"group": dihedral(16), "restrict": cyclic(16), "widths": (5, 10, 14, 16, 20, 40)}
        return create(
            "pdo-mnist-large",
            filters=family(self.filters),
            dropout=self.dropout,
            **(mirrored if self.mirror else {}),
        )

    def data(self) -> MnistRot:
        """Return the data set."""
        return mnist_rot()
