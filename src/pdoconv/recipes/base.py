"""What all recipes share: the settings of a training, their checks, and what a run asks of a recipe."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Literal, Self

import numpy as np
from torch import nn

from pdoconv.data import Augment, DataSet, Split


@dataclass(frozen=True)
class Recipe(ABC):
    """Settings of a run."""

    epochs: int = 60
    seed: int = 0
    train_on: Literal["train", "all"] = "train"
    """`"train"`: the training split alone; `"all"`: with the validation split, with everything fixed beforehand."""
    batch_size: int = 64
    """Over all devices."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Decoupled weight decay with AdamW; SGD has Nesterov momentum 0.9 and coupled weight decay."""
    lr: float = 1e-2
    """Highest learning rate."""
    weight_decay: float = 0.1
    schedule: Literal["one-cycle", "cosine", "steps"] = "one-cycle"
    """`"cosine"`: linear warm-up, then a half cosine; `"steps"`: a tenth after half of the run and again after 3/4."""
    warmup: float = 0.3
    """Share of the run in which the rate rises (one-cycle, cosine)."""
    label_smoothing: float = 0.1
    ema: float = 0.0
    """Decay of the exponential moving average of the weights that is validated, kept and tested; 0 for none."""
    crop: int = 0
    """Augmentation of training images: see `pdoconv.data.Augment`."""
    flip: bool = False
    rotate: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run; lists, as read from a file, become tuples."""
        for setting in fields(self):
            if isinstance(value := getattr(self, setting.name), list):
                object.__setattr__(self, setting.name, tuple(value))
        if min(self.epochs, self.batch_size) < 1 or self.seed < 0:
            raise ValueError(
                f"Expected epochs >= 1, batch_size >= 1 and seed >= 0, received {self.epochs}, {self.batch_size}, "
                f"{self.seed}."
            )
        finite = 0 < self.lr < float("inf") and 0 <= self.weight_decay < float("inf")
        if not finite or not 0 <= self.label_smoothing < 1 or not 0 < self.warmup < 1:
            raise ValueError(
                f"Expected lr > 0, weight_decay >= 0, warmup in (0, 1), label_smoothing in [0, 1), received {self.lr}, "
                f"{self.weight_decay}, {self.warmup}, {self.label_smoothing}."
            )
        if self.optimizer not in ("adamw", "sgd") or self.schedule not in ("one-cycle", "cosine", "steps"):
            raise ValueError(
                f"Expected optimizer 'adamw' or 'sgd' and schedule 'one-cycle', 'cosine' or 'steps', received "
                f"{self.optimizer!r}, {self.schedule!r}."
            )
        if not 0 <= self.ema < 1:
            raise ValueError(f"Expected ema in [0, 1), received {self.ema}.")
        self.augment()
        if self.train_on not in ("train", "all") or self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(
                f"Expected train_on 'train' or 'all' and precision '32-true' or 'bf16-mixed', received "
                f"{self.train_on!r}, {self.precision!r}."
            )

    @property
    @abstractmethod
    def classes(self) -> int:
        """Number of classes."""

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return 1

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, ...]:
        """Sides of the images or volumes."""

    @property
    @abstractmethod
    def title(self) -> str:
        """Name in results."""

    def prepared(self) -> Self:
        """Return the recipe with everything found out that depends on the data; most have nothing to find out."""
        return self

    def augment(self) -> Augment:
        """Return the augmentation of training images."""
        return Augment(crop=self.crop, flip=self.flip, rotate=self.rotate, cutout=self.cutout, mixup=self.mixup)

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""

    @abstractmethod
    def data(self) -> DataSet:
        """Return the data set."""

    def splits(self, data: DataSet) -> tuple[Split, Split | None]:
        """Return the images to train on, and those to validate on if any are kept apart."""
        if self.train_on == "train":
            return data.train, data.valid
        both = [np.concatenate(pair) for pair in zip(data.train, data.valid, strict=True)]
        return Split(*both), None


def require_network(fields: int, dropout: float) -> None:
    """Raise `ValueError` unless a network can have so many fields and this dropout."""
    if fields < 1 or not 0 <= dropout < 1:
        raise ValueError(f"Expected fields >= 1 and dropout in [0, 1), received {fields}, {dropout}.")
