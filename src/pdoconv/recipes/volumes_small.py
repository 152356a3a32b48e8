"""Tetracubes in space: trained upright, tested in other orientations, with the 24 rotations of the cube or without."""

from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from pdoconv.data import Volumes, shapes
from pdoconv.data.shapes import Orientation
from pdoconv.models import volume_plain, volume_small
from pdoconv.recipes.base import Recipe, require_network

VALID, TEST = 200, 1000
VALID_SEED, TEST_SEED = 1, 3  # of the shapes; the training split has 0


@dataclass(frozen=True)
class VolumesSmall(Recipe):
    """Settings of a run; `valid` is oriented as the training volumes are."""

    epochs: int = 12
    batch_size: int = 32
    lr: float = 1e-2
    weight_decay: float = 0.01
    dropout: float = 0.0
    label_smoothing: float = 0.0
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    filters: str = "default"
    """`"default"`: PDO filters over the 24 rotations; `"plain"`: ordinary convolutions of nearly as many parameters."""
    fields: int = 2
    """Regular fields of the first layer; a plain network has three times as many channels."""
    samples: int = 1024
    """Training volumes."""
    orientation: Orientation = "upright"
    """Of the training volumes, see `pdoconv.data.shapes`."""
    test_orientation: Orientation = "any"

    classes = 8
    image_shape = (15, 15, 15)
    title = "Tetracubes in space"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        require_network(self.fields, self.dropout)
        known = get_args(Orientation)
        if self.filters not in ("default", "plain") or not {self.orientation, self.test_orientation} <= set(known):
            raise ValueError(
                f"Expected filters 'default' or 'plain' and orientations of {known}, received {self.filters!r}, "
                f"{self.orientation!r}, {self.test_orientation!r}."
            )
        if self.samples < 1:
            raise ValueError(f"Expected samples >= 1, received {self.samples}.")

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        if self.filters == "plain":
            return volume_plain(channels=3 * self.fields, dropout=self.dropout)
        return volume_small(fields=self.fields, dropout=self.dropout)

    def data(self) -> Volumes:
        """Return the data set."""
        side = self.image_shape[0]
        return Volumes(
            shapes(self.samples, self.orientation, seed=0, size=side),
            shapes(VALID, self.orientation, seed=VALID_SEED, size=side),
            shapes(TEST, self.test_orientation, seed=TEST_SEED, size=side),
            f"tetracubes, trained {self.orientation}, tested {self.test_orientation}",
        )
