"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009): 50,000 training and 10,000 test images of 32 x 32 pixels in colour.

The last 5,000 training images are kept for validation. All forms in which a set is distributed give the same arrays.
"""

import io
import math
import os
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from pdoconv.data.files import array_hash, data_folders, read_archive, read_files
from pdoconv.data.pickled import read_pickle
from pdoconv.data.splits import Images, ImageSet, Split
from pdoconv.progress import progress

TRAIN, VALID, TEST = 45_000, 5_000, 10_000
SIDE = 32
CIFAR10 = {
    "x train": "6b9c6197739b7ba5",
    "x valid": "1c0b2f1fb423ffcc",
    "x test": "177777c33ba79825",
    "y test": "cec8a24a1e92aa2e",
    "y train": "20732609e7660651",
    "y valid": "da32b32f6bce0692",
}
"""First 16 digits of the sha256 of the arrays of CIFAR-10."""
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Labels(NamedTuple):
    """One way of labelling: how many classes, the name of the labels, and where in a binary record they are."""

    classes: int
    key: str
    column: int
    columns: int


class Form(NamedTuple):
    """One form in which a set is distributed: an archive, or the folder that it unpacks to."""

    archive: str
    md5: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str

    @property
    def files(self) -> tuple[str, ...]:
        """All files that are read."""
        return (*self.train, self.test, self.names)


FORMS10 = (
    Form(
        "cifar-10-binary.tar.gz",
        "c32a1d4ab5d03f1284b67883e8d87530",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
    ),
    Form(
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
        "cifar-10-batches-py",
        tuple(f"data_batch_{k}" for k in range(1, 6)),
        "test_batch",
        "batches.meta",
    ),
)
FORMS100 = (
    Form(
        "cifar-100-binary.tar.gz",
        "03b5dce01913d631647c71ecec9e9cb8",
        "cifar-100-binary",
        ("train.bin",),
        "test.bin",
        "{}_names.txt",
    ),
    Form(
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
        "cifar-100-python",
        ("train",),
        "test",
        "meta",
    ),
)


def cifar10(root: str | os.PathLike[str] | None = None) -> ImageSet:
    """Load CIFAR-10: images `(n, 3, 32, 32)` and labels 0..9, uint8; 45,000, 5,000 and 10,000 of them.

    Looks in the data folder for `cifar-10-binary.tar.gz` and `cifar-10-python.tar.gz` (their md5 is checked; nothing is
    unpacked to disk), then for the folders `cifar-10-batches-bin` and `cifar-10-batches-py`, then for `cifar10/`:
    `train1.webp` to `train5.webp` and `test.webp`, lossless mosaics of 100 x 100 images in the official order, row by
    row, with `labels.npz` (`y_train`, `y_test`). Hashes of the arrays are checked, whatever they came from.

    Args:
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If the folder or the files are missing.
        ValueError: If a file is half-written, corrupt or not the expected one, or a pickle asks for more than arrays.
    """
    labels = Labels(10, "label", 0, 1)
    for folder in data_folders(root):
        data = _official(folder, FORMS10, labels, "CIFAR-10") or _mosaics(folder / "cifar10")
        if data:
            hashes = {
                **data.fingerprint,
                "y train": array_hash(data.train.labels),
                "y valid": array_hash(data.valid.labels),
            }
            wrong = [name for name, value in CIFAR10.items() if hashes[name] != value]
            if wrong:
                raise ValueError(
                    f"The files in {folder} are not CIFAR-10 as published: {', '.join(wrong)} have other hashes "
                    f"({', '.join(hashes[name] for name in wrong)} for {', '.join(CIFAR10[name] for name in wrong)}). "
                    f"They were not used: get them again."
                )
            return data
    raise _missing("CIFAR-10", root, FORMS10, " or cifar10/ (mosaics)")


def cifar100(root: str | os.PathLike[str] | None = None, labels: Literal["fine", "coarse"] = "fine") -> ImageSet:
    """Load CIFAR-100: images `(n, 3, 32, 32)` and labels, uint8; 45,000, 5,000 and 10,000 of them.

    Looks in the data folder for `cifar-100-binary.tar.gz` and `cifar-100-python.tar.gz` (their md5 is checked; nothing
    is unpacked to disk), then for the folders `cifar-100-binary` and `cifar-100-python` (sizes and ranges are checked).

    Args:
        root: Data folder, as for `cifar10`.
        labels: `"fine"` for the 100 classes, `"coarse"` for the 20 groups of five of them.

    Raises:
        FileNotFoundError: If the folder or the files are missing.
        ValueError: If `labels` is unknown, or for a file as in `cifar10`.
    """
    if labels not in get_args(Literal["fine", "coarse"]):
        raise ValueError(f"cifar100: expected labels 'fine' (100 classes) or 'coarse' (20), received {labels!r}.")
    kind = Labels(100, "fine_label", 1, 2) if labels == "fine" else Labels(20, "coarse_label", 0, 2)
    forms = tuple(form._replace(names=form.names.format(kind.key)) for form in FORMS100)
    title = "CIFAR-100" if labels == "fine" else "CIFAR-100 (20 classes)"
    for folder in data_folders(root):
        data = _official(folder, forms, kind, title)
        if data:
            return data
    raise _missing("CIFAR-100", root, forms)


def _missing(title: str, root: str | os.PathLike[str] | None, forms: tuple[Form, ...], more: str = "") -> Exception:
    names = ", ".join([form.archive for form in forms] + [f"{form.folder}/" for form in forms])
    return FileNotFoundError(
        f"{title} was not found: looked for {names}{more} in {', '.join(map(str, data_folders(root)))}. Put "
        f"{forms[0].archive} (https://www.cs.toronto.edu/~kriz/cifar.html) there, or set PDOCONV_DATA to a folder that "
        f"has it."
    )


def _official(folder: Path, forms: tuple[Form, ...], labels: Labels, title: str) -> ImageSet | None:
    """Read the first form that is there: archives first."""
    for form in forms:
        origin = folder / form.archive
        if origin.exists():
            names = [f"{form.folder}/{name}" for name in form.files]
            return _read(origin, form, read_archive(origin, form.md5, names), labels, title)
    for form in forms:
        origin = folder / form.folder
        if origin.is_dir():
            return _read(origin, form, read_files(origin, form.files), labels, title)
    return None


def _read(origin: Path, form: Form, contents: list[bytes], labels: Labels, title: str) -> ImageSet:
    read = _pickled if "python" in form.archive else _records
    counts = [(TRAIN + VALID) // len(form.train)] * len(form.train) + [TEST]
    parts = []
    for name, content, count in zip(form.files, contents, counts, strict=False):  # names of classes are last
        images, found = read(content, f"{name} in {origin}", count, labels)
        if found.max() >= labels.classes:
            raise ValueError(
                f"{name} in {origin}: expected labels 0..{labels.classes - 1}, received {found.max()}. It was not used."
            )
        parts.append((images, found))
    if read is _pickled:
        classes = read_pickle(contents[-1], f"{form.names} in {origin}").get(f"{labels.key}_names", [])
    else:
        classes = contents[-1].decode("ascii", "replace").split()
    if len(classes) != labels.classes:
        raise ValueError(
            f"{form.names} in {origin}: expected the names of {labels.classes} classes, received {len(classes)}."
        )
    images, found = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return _image_set(images, found, title, tuple(classes))


def _image_set(images: Images, labels: Images, title: str, classes: tuple[str, ...]) -> ImageSet:
    cuts = [TRAIN, TRAIN + VALID]
    train, valid, test = map(Split, np.split(images, cuts), np.split(labels, cuts))
    return ImageSet(train, valid, test, title, classes)


def _records(content: bytes, name: str, count: int, labels: Labels) -> tuple[Images, Images]:
    """Read records of one or two labels and 3 x 32 x 32 pixels."""
    length = labels.columns + 3 * SIDE**2
    if len(content) != count * length:
        raise ValueError(
            f"{name}: expected {count} records of {length} bytes, received {len(content)} bytes: half-written, corrupt "
            f"or another file. It was not used."
        )
    records = np.frombuffer(content, np.uint8).reshape(count, length)
    return records[:, labels.columns :].reshape(count, 3, SIDE, SIDE), records[:, labels.column]


def _pickled(content: bytes, name: str, count: int, labels: Labels) -> tuple[Images, Images]:
    """Read a dictionary with an array `data` and a list of labels."""
    entries = read_pickle(content, name)
    images, found = entries.get("data"), np.asarray(entries.get(f"{labels.key}s"))
    shape = (count, 3 * SIDE**2)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape != shape:
        raise ValueError(
            f"{name}: expected 'data', a uint8 array of shape {shape}, received {getattr(images, 'shape', 'none')}: "
            f"half-written, corrupt or another file. It was not used."
        )
    if found.shape != (count,) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() > 255:
        raise ValueError(f"{name}: expected {labels.key}s, {count} integers, received {found.shape} of {found.dtype}.")
    return images.reshape(count, 3, SIDE, SIDE), found.astype(np.uint8)


def _mosaics(folder: Path) -> ImageSet | None:
    """Read the lossless mosaics, if there are any: square arrays of images, row by row."""
    if not (folder / "labels.npz").is_file():
        return None
    from PIL import Image

    names = [*(f"train{k}.webp" for k in range(1, 6)), "test.webp", "labels.npz"]
    contents = dict(zip(names, read_files(folder, names), strict=True))
    parts = []
    for name in progress(names[:-1], total=len(names) - 1, title="decoding CIFAR-10"):
        count = TEST if name == "test.webp" else (TRAIN + VALID) // 5
        rows = math.isqrt(count)
        try:
            mosaic = np.asarray(Image.open(io.BytesIO(contents[name])).convert("RGB"))
            tiles = mosaic.reshape(rows, SIDE, rows, SIDE, 3)
        except Exception as error:  # damaged files raise many kinds
            raise ValueError(
                f"{folder / name}: expected a mosaic of {rows} x {rows} images that can be read ({error}): half-"
                f"written, corrupt or another file. It was not used."
            ) from error
        parts.append(tiles.transpose(0, 2, 4, 1, 3).reshape(-1, 3, SIDE, SIDE))
    try:
        with np.load(io.BytesIO(contents["labels.npz"])) as file:
            labels = np.concatenate([file["y_train"], file["y_test"]]).astype(np.uint8)
    except Exception as error:
        raise ValueError(f"{folder / 'labels.npz'} cannot be read ({error}): it was not used. Replace it.") from error
    if len(labels) != TRAIN + VALID + TEST:
        raise ValueError(f"{folder / 'labels.npz'}: expected {TRAIN + VALID + TEST} labels, received {len(labels)}.")
    return _image_set(np.concatenate(parts), labels, "CIFAR-10", CLASSES)
