"""Segmentation of scenes with handwritten digits: what is trained, on what, for how long; alike for every system."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pdoconv.filters import rotated
from pdoconv.models import UNet
from pdoconv.pointgroups import group


@dataclass(frozen=True)
class Segmenter:
    """A U-Net that is trained.

    Attributes:
        title: Name in tables.
        group: Name of its group; `"p1"` for the plain one.
        widths: Fields of each stage, for nearly equal parameters.
        turned: Whether it is trained on digits at all angles, drawn anew every epoch; else on upright ones.
    """

    title: str
    group: str
    widths: tuple[int, ...]
    turned: bool = False

    def network(self, classes: int) -> UNet:
        """Return the network, with 3x3 kernels."""
        plain = self.group == "p1"
        return UNet(
            group(self.group),
            classes=classes,
            widths=self.widths,
            kernel_size=3,
            filters=rotated() if plain else None,
        )


SYSTEMS: dict[str, Segmenter] = {
    "plain": Segmenter("U-Net", "p1", (7, 14, 28)),
    "plain-turned": Segmenter("U-Net, trained on all orientations", "p1", (7, 14, 28), turned=True),
    "p4": Segmenter("Equivariant U-Net, p4", "p4", (4, 9, 17)),
    "p8": Segmenter("Equivariant U-Net, p8", "p8", (3, 6, 12)),
}
"""Systems by the name that the command line uses."""


@dataclass(frozen=True)
class Segmentation:
    """Settings of a run."""

    system: str = "p8"
    scenes: int = 800
    """Training scenes, see `pdoconv.data.digit_scenes`."""
    epochs: int = 24
    batch: int = 8
    lr: float = 0.01
    """Highest learning rate."""
    weight_decay: float = 0.01
    background: float = 0.1
    """Weight of background pixels in the loss, digits have 1: they are 7% of the pixels."""
    seed: int = 0
    """Of weights and order; the scenes are the same for all."""

    classes = 10

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        if self.system not in SYSTEMS:
            raise ValueError(f"Unknown system {self.system!r}: expected one of {', '.join(SYSTEMS)}.")
        if min(self.epochs, self.batch) < 1 or self.scenes < self.batch or self.seed < 0:
            raise ValueError(
                f"Expected epochs >= 1, batch >= 1, at least a batch of scenes and seed >= 0, received {self.epochs}, "
                f"{self.batch}, {self.scenes}, {self.seed}."
            )
        if not 0 < self.lr < float("inf") or not 0 <= self.weight_decay < float("inf") or not 0 < self.background <= 1:
            raise ValueError(
                f"Expected lr > 0, weight_decay >= 0 and background in (0, 1], received {self.lr}, "
                f"{self.weight_decay}, {self.background}."
            )

    def weights(self) -> Tensor:
        """Return the weight of each class in the loss."""
        return torch.tensor([self.background] + [1.0] * (self.classes - 1))

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * (self.scenes // self.batch)

    def network(self) -> nn.Module:
        """Return the network, freshly initialised from the seed."""
        torch.manual_seed(self.seed)
        return SYSTEMS[self.system].network(self.classes)
