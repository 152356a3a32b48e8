"""A user's own pictures with their classes as a data set: listed and checked first, then read.

Whatever is wrong with the pictures is said here, before anything is trained; what is done to them is said in sentences.
"""

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pdoconv.data.picture_files import Header, Pixels, centre_square, read_header, read_pixels
from pdoconv.data.picture_folders import find_pictures, some
from pdoconv.data.picture_splits import Part, copies, divide
from pdoconv.data.splits import ImageSet, Split
from pdoconv.progress import progress

LARGEST = 224  # pixels of a side unless another size is asked for
SHOWN = 50  # of the pictures that cannot be read


@dataclass(frozen=True)
class PictureList:
    """Pictures that were found, and how they will be read.

    Attributes:
        train: Files and their labels; `valid` and `test` likewise.
        classes: Names, in the order of the labels.
        size: Pixels of a side of the square images.
        channels: 1 or 3.
        bits: 8 or 16, of a channel.
        notes: Sentences on what is left out, changed, or looks wrong.
        title: Name in results.
    """

    train: Part
    valid: Part
    test: Part
    classes: tuple[str, ...]
    size: int
    channels: int
    bits: int
    notes: tuple[str, ...]
    title: str


def list_pictures(
    path: str | os.PathLike[str], *, size: int | None = None, channels: int | None = None, seed: int = 0
) -> PictureList:
    """Find the pictures of a data set and decide how they are read; needs Pillow (`pdoconv[train]`).

    They are arranged in one of three ways: a folder with a folder for each class (`cats/1.png`; folders within these
    belong to the class); a folder with `train/`, `test/` and perhaps `valid/` or `val/` that hold class folders; a CSV
    file with the columns `file,label` and perhaps `split` (train, valid, test), files named relative to it. PNG, JPEG,
    TIFF, BMP and WebP are read, of 8 or 16 bits. Names, headers, and the bytes of files of one size in different splits
    are read here, no pixels.

    Without a given split 70% of each class are for training, 10% for validation, 20% for the test, at least one each;
    where only the validation pictures are not given, they are an eighth of the training pictures. Hidden files are
    ignored.

    Args:
        path: The folder or CSV file.
        size: Pixels of a side. Pictures that are not squares of this size have their shorter side scaled to it and
            their centre square cut out. Default: the side of the pictures if all are squares of one size, otherwise the
            median of the shorter sides, at most 224.
        channels: 1 for gray by ITU-R 601 luma, 3 for colour. Default: 3 if any picture is in colour.
        seed: Of the split.

    Raises:
        FileNotFoundError: If there is no such folder or file, or no pictures.
        ValueError: If an argument is out of range, the pictures are not arranged so, classes have too few pictures, or
            files are no pictures, hold several, or have pixels of neither 8 nor 16 bits.
    """
    if (size is not None and size < 1) or channels not in (None, 1, 3) or seed < 0:
        raise ValueError(
            f"list_pictures: expected size >= 1, channels 1 (gray) or 3 (colour) and seed >= 0, received {size}, "
            f"{channels}, {seed}."
        )
    place = Path(path).expanduser()
    found, notes = find_pictures(place)
    classes = tuple(sorted({entry.label for entry in found}))
    if len(classes) < 2:
        raise ValueError(
            f"{place}: expected at least two classes, received one, {classes[0]}: add the pictures of another class"
            f"{f', or give the folder of class folders {place / classes[0]}' if _nested(place, classes[0]) else ''}."
        )
    parts, more = divide(place, found, classes, seed)
    headers = _headers([entry.file for entry in found])
    side, about_size = _size(headers, size)
    depth, about_colour = _colour(headers, channels)
    bits = max(header.bits for header in headers)
    shallow = sum(header.bits < bits for header in headers)
    notes += [*more, *about_size, *about_colour]
    if shallow:
        notes.append(
            f"{shallow} of {len(headers)} pictures have 8 bits, the others 16: 8-bit values are multiplied by 257."
        )
    notes += copies(parts)
    title = place.resolve().stem if place.is_file() else place.resolve().name
    return PictureList(parts["train"], parts["valid"], parts["test"], classes, side, depth, bits, tuple(notes), title)


def read_pictures(listing: PictureList) -> ImageSet:
    """Read the pictures of a list, showing progress; all that cannot be read are named at once.

    Returns:
        Images `(n, size, size)` or `(n, 3, size, size)`, uint8 or, of 16 bits, uint16; labels uint8, or int64 for more
        than 256 classes.

    Raises:
        FileNotFoundError: If files are gone since they were listed.
        ValueError: If pictures are corrupt, or all together too large for the memory.
    """
    _require_memory(listing)
    shape = (listing.size, listing.size) if listing.channels == 1 else (3, listing.size, listing.size)
    dtype = np.uint8 if listing.bits == 8 else np.uint16
    parts = (listing.train, listing.valid, listing.test)
    arrays = [np.empty((len(part), *shape), dtype) for part in parts]
    places = [(images, k, file) for images, part in zip(arrays, parts, strict=True) for k, (file, _) in enumerate(part)]
    failed = _Failed()
    for images, k, file in progress(places, total=len(places), title="reading pictures"):
        try:
            pixels = _with_bits(centre_square(read_pixels(file, listing.channels), listing.size), listing.bits)
            images[k] = pixels if listing.channels == 1 else pixels.transpose(2, 0, 1)
        except (FileNotFoundError, ValueError) as error:
            failed.add(file, error)
    failed.report()
    kind: type[np.uint8 | np.int64] = np.uint8 if len(listing.classes) <= 256 else np.int64
    train, valid, test = (
        Split(images, np.array([label for _, label in part], kind)) for images, part in zip(arrays, parts, strict=True)
    )
    return ImageSet(train, valid, test, listing.title, listing.classes)


class _Failed:
    """Files that could not be read, until all were tried."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self.gone: list[Path] = []
        self.corrupt: list[str] = []

    def add(self, file: Path, error: Exception) -> None:
        self.files.add(file)
        if isinstance(error, FileNotFoundError):
            self.gone.append(file)
        else:
            self.corrupt.append(f"{file} ({error})")

    def report(self) -> None:
        """Raise an error if there are any."""
        if self.corrupt:
            raise ValueError(
                f"Pictures that cannot be read ({len(self.corrupt)}): {some(self.corrupt, SHOWN)}. Replace or remove "
                f"them."
            )
        if self.gone:
            raise FileNotFoundError(
                f"Pictures that were there when they were listed and are gone ({len(self.gone)}): {some(self.gone)}. "
                f"Bring them back, or start again without them."
            )


def _nested(place: Path, label: str) -> bool:
    """Whether the only class folder holds folders: it is probably the folder of class folders."""
    return place.is_dir() and (place / label).is_dir() and any(f.is_dir() for f in (place / label).iterdir())


def _headers(files: Sequence[Path]) -> list[Header]:
    headers, failed = [], _Failed()
    for file in progress(files, total=len(files), title="listing pictures"):
        try:
            headers.append(read_header(file))
        except (FileNotFoundError, ValueError) as error:
            failed.add(file, error)
    if failed.corrupt:  # others may have sound headers and corrupt pixels: name all at once
        rest = [file for file in files if file not in failed.files]
        for file in progress(rest, total=len(rest), title="checking the other pictures"):
            try:
                read_pixels(file, 3)
            except (FileNotFoundError, ValueError) as error:
                failed.add(file, error)
    failed.report()
    return headers


def _size(headers: Iterable[Header], size: int | None) -> tuple[int, list[str]]:
    sizes = Counter((header.height, header.width) for header in headers)
    low, high = min(sizes), max(sizes)
    square = len(sizes) == 1 and low[0] == low[1]
    shorter = [min(sides) for sides in sizes.elements()]
    side = size or (low[0] if square else min(LARGEST, int(np.median(shorter))))
    if sizes.keys() == {(side, side)}:
        return side, []
    if len(sizes) == 1:
        about = f"All pictures are {low[0]} x {low[1]} pixels"
    else:
        about = f"Pictures have {len(sizes)} sizes, from {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels"
    return side, [f"{about} (height x width): the shorter side is scaled to {side} and the centre square is kept."]


def _colour(headers: Sequence[Header], channels: int | None) -> tuple[int, list[str]]:
    gray = sum(header.channels == 1 for header in headers)
    coloured = len(headers) - gray
    depth = channels or (3 if coloured else 1)
    if depth == 1 and coloured:
        return 1, [f"{coloured} of {len(headers)} pictures are in colour: they become gray (ITU-R 601 luma)."]
    if depth == 3 and gray:
        return 3, [f"{gray} of {len(headers)} pictures are gray: they are repeated over three channels."]
    return depth, []


def _with_bits(pixels: Pixels, bits: int) -> Pixels:
    if bits == 16 and pixels.dtype == np.uint8:
        return pixels.astype(np.uint16) * np.uint16(257)
    if bits == 8 and pixels.dtype == np.uint16:  # the file was another one when it was listed
        return np.rint(pixels / 257).astype(np.uint8)
    return pixels


def _require_memory(listing: PictureList) -> None:
    count = len(listing.train) + len(listing.valid) + len(listing.test)
    needed, available = count * listing.channels * listing.size**2 * listing.bits // 8, available_memory()
    if needed > available:
        smaller = max(1, int(listing.size * (available / needed / 2) ** 0.5))
        raise ValueError(
            f"{count} pictures of {listing.size} x {listing.size} pixels need {needed / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are available: take a smaller size, such as {smaller}."
        )


def available_memory() -> int:
    """Return the bytes of memory that can be had; all of it where the system does not say how much is taken."""
    meminfo = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    if found:
        return 1024 * int(found[1])
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else sys.maxsize
