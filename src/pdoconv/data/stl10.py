"""STL-10 (Coates, Ng and Lee, 2011): 5,000 training and 8,000 test images of 96 x 96 pixels in colour, ten classes."""

import os
from pathlib import Path

import numpy as np

from pdoconv.data.files import data_folders, read_archive, read_files
from pdoconv.data.splits import ImageSet, Split

ARCHIVE, MD5 = "stl10_binary.tar.gz", "91f7769df0f17e558f3565bffb0c7dfb"
FOLDER = "stl10_binary"
FILES = ("train_X.bin", "train_y.bin", "test_X.bin", "test_y.bin", "class_names.txt")
TRAIN, TEST = 5_000, 8_000
SIDE = 96


def stl10(root: str | os.PathLike[str] | None = None) -> ImageSet:
    """Load STL-10: images `(n, 3, 96, 96)` and labels 0..9, uint8; 4,500, 500 and 8,000 of them.

    Looks in the data folder for `stl10_binary.tar.gz` (its md5 is checked; nothing is unpacked to disk), then for the
    folder `stl10_binary` (sizes and ranges are checked). Every tenth training image is for validation. Images
    without labels are not read.

    Args:
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If the folder or the files are missing.
        ValueError: If a file is half-written, corrupt or not the expected one.
    """
    for folder in data_folders(root):
        origin = folder / ARCHIVE
        if origin.exists():
            return _read(origin, read_archive(origin, MD5, [f"{FOLDER}/{name}" for name in FILES]))
        origin = folder / FOLDER
        if origin.is_dir():
            return _read(origin, read_files(origin, FILES))
    raise FileNotFoundError(
        f"STL-10 was not found: looked for {ARCHIVE} and {FOLDER}/ in {', '.join(map(str, data_folders(root)))}. Put "
        f"{ARCHIVE} (https://cs.stanford.edu/~acoates/stl10) there, or set PDOCONV_DATA to a folder that has it."
    )


def _read(origin: Path, contents: list[bytes]) -> ImageSet:
    *arrays, names = contents
    classes = tuple(names.decode("ascii", "replace").split())
    if len(classes) != 10:
        raise ValueError(f"{FILES[4]} in {origin}: expected the names of 10 classes, received {len(classes)}.")
    train, test = (_split(origin, k, count, arrays) for k, count in ((0, TRAIN), (2, TEST)))
    held = np.arange(TRAIN) % 10 == 9
    kept, valid = (Split(train.images[chosen], train.labels[chosen]) for chosen in (~held, held))
    return ImageSet(kept, valid, test, "STL-10", classes)


def _split(origin: Path, first: int, count: int, arrays: list[bytes]) -> Split:
    for k, size in ((first, count * 3 * SIDE**2), (first + 1, count)):
        if len(arrays[k]) != size:
            raise ValueError(
                f"{FILES[k]} in {origin}: expected {size} bytes, received {len(arrays[k])}: half-written, corrupt or "
                f"another file. It was not used."
            )
    images, labels = (np.frombuffer(arrays[k], np.uint8) for k in (first, first + 1))
    if labels.min() < 1 or labels.max() > 10:
        raise ValueError(
            f"{FILES[first + 1]} in {origin}: expected labels 1..10, received {labels.min()}..{labels.max()}. It was "
            f"not used."
        )
    columns = images.reshape(count, 3, SIDE, SIDE)  # stored column by column
    return Split(np.ascontiguousarray(columns.transpose(0, 1, 3, 2)), labels - 1)
