"""A user's own pictures, in folders named after the classes, with a residual network that is symmetric end to end."""

import math
import sys
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import nn

from pdoconv.data import ImageSet, PictureList, list_pictures, read_pictures
from pdoconv.filters import family
from pdoconv.models import create
from pdoconv.pointgroups import group as group_of
from pdoconv.recipes.base import Recipe

LARGEST = 96
"""Pixels of a side unless another size is asked for."""
HEAD = 64
"""Invariant numbers that the classifier reads."""
SMALLEST = 8
"""Pixels of a side behind the last stage, about: every stage but the first halves the side."""


@dataclass(frozen=True)
class Pictures(Recipe):
    """Settings of a run; what is not given is found out from the pictures by `prepared`."""

    epochs: int = 30
    batch_size: int = 32
    lr: float = 5e-3
    weight_decay: float = 0.05
    schedule: Literal["one-cycle", "cosine", "steps"] = "cosine"
    warmup: float = 0.1
    ema: float = 0.99
    folder: str = ""
    """Folder or CSV file, see `pdoconv.data.list_pictures`."""
    size: int = 0
    """Side in pixels; 0 for that of the pictures, at most 96."""
    colours: int = 0
    """Channels, 1 or 3; 0 for those of the pictures."""
    group: str = "p8"
    filters: str = "gaussian"
    widths: tuple[int, ...] = ()
    """Regular fields of each stage; by default as many stages as the size asks for, the last of 128 channels."""
    units: int = 1
    names: tuple[str, ...] = ()
    """Classes; found out."""

    title = "pictures"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        if min(self.size, self.colours) < 0 or self.units < 1:
            raise ValueError(f"Expected size >= 0 and units >= 1, received {self.size}, {self.units}.")
        group = group_of(self.group)
        if group.dim != 2 or group.continuous:
            raise ValueError(f"Expected a finite group of the plane, such as p8 or p4m, received {self.group!r}.")
        family(self.filters)

    @property
    def classes(self) -> int:
        """Number of classes, once prepared."""
        return len(self.names)

    @property
    def channels(self) -> int:
        """Channels, once prepared."""
        return self.colours

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Sides, once prepared."""
        return self.size, self.size

    def prepared(self) -> Self:
        """Look at the pictures' names and headers; print what a user should know about them."""
        listing = self._listing()
        notes = listing.notes
        if not self.size and listing.size > LARGEST:
            notes = (*notes, f"Scaled from {listing.size} to {LARGEST} pixels: --size {listing.size} keeps them.")
            listing = replace(listing, size=LARGEST)
        for note in notes:
            print(f"{self.folder}: {note}", file=sys.stderr)
        count = len(listing.train)
        return replace(
            self,
            size=listing.size,
            colours=listing.channels,
            names=listing.classes,
            widths=self.widths or self._widths(listing.size),
            batch_size=min(self.batch_size, max(1, count // 4)),  # some steps an epoch, whatever the number
        )

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        return create(  # by name, so that a file can hold it: see `pdoconv.save`
            "pdo-resnet44-p8",
            group=self.group,
            widths=self.widths,
            units=self.units,
            in_channels=self.channels,
            classes=self.classes,
            filters=self.filters,
            head=HEAD,
            layout="symmetric",
            init="unit",
            eps=1e-5,
        )

    def data(self) -> ImageSet:
        """Return the pictures; `ValueError` if they are of other classes than the run was started with."""
        listing = self._listing()
        if listing.classes != self.names:
            raise ValueError(
                f"{self.folder}: the run was started with the classes {', '.join(self.names)}, received "
                f"{', '.join(listing.classes)}: put them back, or start a new run with --run."
            )
        return read_pictures(listing)

    def _listing(self) -> PictureList:
        return list_pictures(self.folder, size=self.size or None, channels=self.colours or None)

    def _widths(self, size: int) -> tuple[int, ...]:
        """Return widths of as many stages as halve a side to about 8 pixels; about 128 channels in the last."""
        stages = max(1, round(math.log2(size / SMALLEST)) + 1)
        last = max(4, 128 // group_of(self.group).order)
        return tuple(max(2, last // 2 ** min(2, stages - 1 - stage)) for stage in range(stages))
