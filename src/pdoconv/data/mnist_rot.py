"""MNIST-rot: 12,000 training and 50,000 test digits in random orientations (Larochelle et al., 2007).

The published files are read where a user has them. Otherwise the set is made again from MNIST by the published
recipe, with a fixed seed; errors on this *regenerated* set are comparable among methods run on it, not exactly with
published ones.
"""

import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pdoconv.data.files import data_root, require_hash
from pdoconv.data.mnist import mnist
from pdoconv.data.splits import Images, Split
from pdoconv.data.splits import fingerprint as fingerprint_of
from pdoconv.progress import progress

ZIP_MD5 = "0f9a947ff3d30e95cd685462cbf3b847"
AMAT = ("mnist_all_rotation_normalized_float_train_valid.amat", "mnist_all_rotation_normalized_float_test.amat")
REGENERATED = {
    "x train": "5abe4cc225ba5c37",
    "x valid": "9500de7d94ae807c",
    "x test": "3b0c82f6dcc7a903",
    "y test": "0e05e0004cecf13a",
}
TRAIN, VALID, TEST = 10_000, 2_000, 50_000


class MnistRot(NamedTuple):
    """The three splits: 10,000 for training, 2,000 for validation, 50,000 for the test."""

    train: Split
    valid: Split
    test: Split

    @property
    def fingerprint(self) -> dict[str, str]:
        """First 16 digits of the sha256 of each image array and of the test labels."""
        return fingerprint_of(*self)

    @property
    def title(self) -> str:
        """`"MNIST-rot"` for the published files, `"MNIST-rot (regenerated)"` otherwise."""
        return "MNIST-rot (regenerated)" if self.fingerprint == REGENERATED else "MNIST-rot"


def mnist_rot(root: str | os.PathLike[str] | None = None) -> MnistRot:
    """Load MNIST-rot as uint8 arrays.

    Looks in the data folder for `mnist_rotation_new.zip` (its md5 is checked), then for the two `.amat` files that it
    contains (shape and ranges are checked), then makes the set from `mnist.npz` (hashes are checked) and keeps it in
    `mnist_rot_regenerated.npz` when the folder can be written to.

    Args:
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If the folder or the file to start from is missing.
        ValueError: If a file is half-written, corrupt or not the expected one.
    """
    folder = data_root(root)
    archive = folder / "mnist_rotation_new.zip"
    if archive.exists():
        require_hash(archive, "md5", ZIP_MD5)
        with zipfile.ZipFile(archive) as files:
            return _published([io.TextIOWrapper(files.open(name)) for name in AMAT], archive)
    if (folder / AMAT[0]).exists() or (folder / AMAT[1]).exists():
        missing = [name for name in AMAT if not (folder / name).exists()]
        if missing:
            raise FileNotFoundError(f"{folder} has one of the MNIST-rot files but not {missing[0]}: add it.")
        with (folder / AMAT[0]).open() as first, (folder / AMAT[1]).open() as second:
            return _published([first, second], folder)
    return _regenerated(folder)


def _published(files: list[IO[str]], origin: Path) -> MnistRot:
    tables = []
    for file, name, rows in zip(files, AMAT, (TRAIN + VALID, TEST), strict=True):
        lines = progress(file, total=rows, title=f"reading {name}")
        try:
            table = np.loadtxt(lines, dtype=np.float32)
        except ValueError as error:
            raise ValueError(f"{name} in {origin} is half-written or corrupt, and was not used: {error}") from error
        ok = table.shape == (rows, 785) and np.isfinite(table).all() and table.min() >= 0 and table[:, :-1].max() <= 1
        if not ok or not np.isin(table[:, -1], np.arange(10)).all():
            raise ValueError(
                f"{name} in {origin}: expected {rows} rows of 784 pixels in 0..1 and a label 0..9, received an array "
                f"of shape {table.shape}: half-written, corrupt or another file. It was not used."
            )
        tables.append(table)
    images = [np.rint(t[:, :-1] * 255).astype(np.uint8).reshape(-1, 28, 28) for t in tables]
    labels = [t[:, -1].astype(np.uint8) for t in tables]
    return MnistRot(
        Split(images[0][:TRAIN], labels[0][:TRAIN]),
        Split(images[0][TRAIN:], labels[0][TRAIN:]),
        Split(images[1], labels[1]),
    )


def _regenerated(folder: Path) -> MnistRot:
    kept = folder / "mnist_rot_regenerated.npz"
    if not (folder / "mnist.npz").exists():
        raise FileNotFoundError(
            f"{folder} has neither mnist_rotation_new.zip, nor {AMAT[0]}, nor mnist.npz (the 70,000 MNIST digits: keys "
            f"x_train, y_train, x_test, y_test). Add one, or set PDOCONV_DATA to a folder that has it."
        )
    digits, labels = (np.concatenate(parts) for parts in zip(*mnist(folder), strict=True))
    labels = labels.astype(np.uint8)
    rng = np.random.Generator(np.random.PCG64(0))
    pick = rng.permutation(len(digits))[: TRAIN + VALID + TEST]
    angles = rng.uniform(0, 2 * np.pi, len(pick))
    images = _read_kept(kept)
    fresh = images is None
    if images is None:
        images = rotate(digits[pick], angles)
    data = _split(images, labels[pick])
    if data.fingerprint != REGENERATED:
        raise ValueError(
            f"The regenerated MNIST-rot differs from the published recipe: expected {REGENERATED}, received "
            f"{data.fingerprint}. Please report this with your numpy version, {np.__version__}."
        )
    if fresh:
        _keep(kept, images)
    return data


def _split(images: Images, labels: Images) -> MnistRot:
    cuts = [TRAIN, TRAIN + VALID]
    return MnistRot(*map(Split, np.split(images, cuts), np.split(labels, cuts)))


def _read_kept(kept: Path) -> Images | None:
    """Return the images kept from an earlier run, or `None` if there are none or they are not whole."""
    if not kept.exists():
        return None
    try:
        with kept.open("rb") as raw, np.load(raw) as file:
            images: Images = file["images"]
        found = _split(images, np.zeros(len(images), np.uint8)).fingerprint
    except Exception:  # a damaged archive raises many kinds; whatever it is, the file is not used
        found = {}
    if any(found.get(name) != value for name, value in REGENERATED.items() if name.startswith("x")):
        print(f"{kept} is half-written or corrupt: it is not used, and made anew.", file=sys.stderr)
        return None
    return images


def _keep(kept: Path, images: Images) -> None:
    """Write beside and rename, so that an interrupted run leaves no half-written file under the final name."""
    partial = kept.with_name(f"{kept.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.savez(file, images=images)
        partial.replace(kept)
    except OSError as error:  # a read-only or full folder costs only time
        partial.unlink(missing_ok=True)
        print(
            f"MNIST-rot could not be kept in {kept.parent} ({error}); it will be made again next time.", file=sys.stderr
        )


def rotate(images: Images, angles: NDArray[np.float64]) -> Images:
    """Rotate each image counter-clockwise as displayed, about its centre: bilinear in float64, zero outside, rounded.

    Args:
        images: `(n, side, side)`.
        angles: `(n,)` radians.
    """
    parts = list(progress(rotated_parts(images, angles), total=-(-len(images) // 2000), title="rotating digits"))
    return np.concatenate(parts)


def rotated_parts(images: Images, angles: NDArray[np.float64]) -> Iterator[Images]:
    """Yield what `rotate` returns in parts of 2000 images."""
    side = images.shape[1]
    centre = (side - 1) / 2
    x, y = np.meshgrid(np.arange(side) - centre, centre - np.arange(side))  # y up
    for start in range(0, len(images), 2000):
        padded = np.pad(images[start : start + 2000].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
        c, s = (f(angles[start : start + 2000])[:, None, None] for f in (np.cos, np.sin))
        column = (c * x + s * y) + centre  # where the pixel was before the rotation
        row = centre - (-s * x + c * y)
        r0, c0 = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
        fr, fc = row - r0, column - c0
        which = np.arange(len(padded))[:, None, None]

        def at(r: NDArray[np.int64], c: NDArray[np.int64], padded=padded, which=which):  # type: ignore[no-untyped-def]
            return padded[which, np.clip(r + 1, 0, side + 1), np.clip(c + 1, 0, side + 1)]

        top = at(r0, c0) * (1 - fc) + at(r0, c0 + 1) * fc
        bottom = at(r0 + 1, c0) * (1 - fc) + at(r0 + 1, c0 + 1) * fc
        yield np.rint(top * (1 - fr) + bottom * fr).astype(np.uint8)
