"""MNIST-rot with the authors' small p8 network (26,747 parameters; published: 1.87% error on the original files)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import nn

from pdoconv.data import MnistRot, Split, mnist_rot
from pdoconv.filters import family
from pdoconv.models import mnist_plain, mnist_small


@dataclass(frozen=True)
class MnistRotSmall:
    """Settings of a run; chosen on the 10,000 / 2,000 split, see `docs/design/002-training.md`."""

    epochs: int = 60
    seed: int = 0
    train_on: Literal["train", "all"] = "train"
    """`"train"`: 10,000 images, validation on 2,000; `"all"`: all 12,000 with everything fixed beforehand."""
    batch_size: int = 64
    lr: float = 1e-2
    weight_decay: float = 0.1
    warmup: float = 0.3
    dropout: float = 0.2
    label_smoothing: float = 0.1
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    filters: str = "paper"
    """A name of `pdoconv.filters.FAMILIES`, or `"plain"`: ordinary convolutions with `fields` channels."""
    fields: int = 7
    """Regular fields of every layer. Equal parameters: 7 with nine operators, 6 with thirteen, 14 channels if plain."""

    classes = 10
    image_size = 28
    title = "MNIST-rot, layout of the authors' small network"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        if min(self.epochs, self.batch_size, self.fields) < 1 or self.seed < 0:
            raise ValueError(
                f"Expected epochs >= 1, batch_size >= 1, fields >= 1 and seed >= 0, received {self.epochs}, "
                f"{self.batch_size}, {self.fields}, {self.seed}."
            )
        if self.filters != "plain":
            family(self.filters)
        finite = 0 < self.lr < float("inf") and 0 <= self.weight_decay < float("inf")
        if not finite or not 0 <= self.label_smoothing < 1 or not 0 < self.warmup < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"Expected lr > 0, weight_decay >= 0, warmup in (0, 1), dropout and label_smoothing in [0, 1), "
                f"received {self.lr}, {self.weight_decay}, {self.warmup}, {self.dropout}, {self.label_smoothing}."
            )
        if self.train_on not in ("train", "all") or self.precision not in ("32-true", "bf16-mixed"):
            raise ValueError(
                f"Expected train_on 'train' or 'all' and precision '32-true' or 'bf16-mixed', received "
                f"{self.train_on!r}, {self.precision!r}."
            )

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        if self.filters == "plain":
            return mnist_plain(channels=self.fields, dropout=self.dropout)
        return mnist_small(filters=family(self.filters), fields=self.fields, dropout=self.dropout)

    def data(self) -> MnistRot:
        """Return the data set."""
        return mnist_rot()

    def splits(self, data: MnistRot) -> tuple[Split, Split | None]:
        """Return the images to train on, and those to validate on if any are kept apart."""
        if self.train_on == "train":
            return data.train, data.valid
        both = [np.concatenate(pair) for pair in zip(data.train, data.valid, strict=True)]
        return Split(*both), None
