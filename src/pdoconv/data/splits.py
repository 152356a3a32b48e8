"""What every data set consists of: splits of arrays with labels, and their fingerprint."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pdoconv.data.files import array_hash

Images = NDArray[np.uint8]


class Split(NamedTuple):
    """Images or volumes, and labels `(n,)`.

    Gray images are `(n, height, width)`, coloured ones `(n, channels, height, width)` with red, green and blue first,
    volumes `(n, depth, height, width)`. All is uint8, but images of 16 bits are uint16, and the labels of more than
    256 classes int64.
    """

    images: NDArray[np.uint8 | np.uint16]
    labels: NDArray[np.uint8 | np.int64]


class DataSet(Protocol):
    """Three splits with a name and a fingerprint."""

    @property
    def train(self) -> Split:
        """For training."""

    @property
    def valid(self) -> Split:
        """For choosing settings."""

    @property
    def test(self) -> Split:
        """For the one measurement at the end."""

    @property
    def title(self) -> str:
        """Name in results."""

    @property
    def fingerprint(self) -> dict[str, str]:
        """Hashes of the arrays."""


class ImageSet(NamedTuple):
    """Three splits of images, gray or in colour, with the names of the classes."""

    train: Split
    valid: Split
    test: Split
    title: str
    classes: tuple[str, ...]

    @property
    def fingerprint(self) -> dict[str, str]:
        """First 16 digits of the sha256 of each image array and of the test labels."""
        return fingerprint(self.train, self.valid, self.test)


def fingerprint(train: Split, valid: Split, test: Split) -> dict[str, str]:
    """Return the first 16 digits of the sha256 of each image array and of the test labels."""
    arrays = {"x train": train.images, "x valid": valid.images, "x test": test.images, "y test": test.labels}
    return {name: array_hash(array) for name, array in arrays.items()}
