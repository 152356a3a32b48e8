"""CIFAR-10, CIFAR-100 and STL-10 with residual networks: the authors' schedule, or a modern one, a tenth as long."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from pdoconv.data import DataSet, cifar10, cifar100, stl10
from pdoconv.filters import family
from pdoconv.models import create, names
from pdoconv.pointgroups import group as group_of
from pdoconv.recipes.base import Recipe

COLOUR = ("gcnn-", "hexaconv-", "pdo-resnet", "pdo-wrn", "resnet-", "wrn-", "z2-resnet")
NETWORKS = tuple(name for name in names() if name.startswith(COLOUR))
"""Networks for colour images, of `pdoconv.models.names()`."""


@dataclass(frozen=True)
class Cifar10(Recipe):
    """Settings of a run: warm-up, cosine, label smoothing, an average of the weights, bfloat16 where there is some.

    The fields from `group` on are arguments of the network instead of its published ones, where they are given.
    """

    epochs: int = 30
    batch_size: int = 128
    optimizer: Literal["adamw", "sgd"] = "sgd"
    lr: float = 0.2
    weight_decay: float = 5e-4
    schedule: Literal["one-cycle", "cosine", "steps"] = "cosine"
    warmup: float = 0.1
    ema: float = 0.998
    crop: int = 4
    flip: bool = True
    network_name: str = "pdo-resnet44-p8"
    """One of `NETWORKS`."""
    group: str = ""
    filters: str = ""
    layout: str = ""
    widths: tuple[int, ...] = ()
    units: int = 0
    kernel_size: int = 0
    head: int = 0

    classes = 10
    channels = 3
    image_shape = (32, 32)
    title = "CIFAR-10"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        if self.network_name not in NETWORKS:
            known = ", ".join(NETWORKS)
            raise ValueError(f"Expected a network for colour images, one of {known}, received {self.network_name!r}.")

    def config(self) -> dict[str, Any]:
        """Return the arguments of the network that are not the published ones."""
        given: dict[str, Any] = {
            key: getattr(self, key) for key in ("layout", "widths", "units", "kernel_size", "head")
        }
        if self.group:
            given["group"] = group_of(self.group)
        if self.filters:
            given["filters"] = family(self.filters)
        return {"classes": self.classes, **{key: value for key, value in given.items() if value}}

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        return create(self.network_name, **self.config())

    def data(self) -> DataSet:
        """Return the data set."""
        return cifar10()


@dataclass(frozen=True)
class Cifar10Authors(Cifar10):
    """The schedule of the authors' script: 300 epochs, a tenth of the rate after 150 and after 225."""

    epochs: int = 300
    lr: float = 0.1
    weight_decay: float = 1e-3
    schedule: Literal["one-cycle", "cosine", "steps"] = "steps"
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"


@dataclass(frozen=True)
class Cifar100(Cifar10):
    """`Cifar10` with 100 classes."""

    classes = 100
    title = "CIFAR-100"

    def data(self) -> DataSet:
        """Return the data set."""
        return cifar100()


@dataclass(frozen=True)
class Cifar100Authors(Cifar10Authors):
    """`Cifar10Authors` with 100 classes."""

    classes = 100
    title = "CIFAR-100"

    def data(self) -> DataSet:
        """Return the data set."""
        return cifar100()


@dataclass(frozen=True)
class Stl10(Cifar10):
    """STL-10: 5,000 training images of 96 x 96 pixels, without the unlabelled ones."""

    epochs: int = 100
    crop: int = 12
    layout: str = "symmetric"
    head: int = 64

    image_shape = (96, 96)
    title = "STL-10"

    def data(self) -> DataSet:
        """Return the data set."""
        return stl10()
