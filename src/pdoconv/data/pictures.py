"""Pictures to train and test restoration on: the standard sets, a user's own folder, and patches of them.

A picture is an array `(height, width)` or `(height, width, 3)` of uint8; a set is a list of them, as their shapes may
differ. `pdoconv.data.synthetic` makes a set from nothing.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.data.files import data_folders
from pdoconv.data.picture_files import read_pixels

Picture = NDArray[np.uint8]

SETS = {"train400": 400, "bsd68": 68, "set12": 12}
"""Number of pictures of the standard gray sets: Train400 and Set12 of DnCNN (Zhang et al., 2017), and BSD68."""
ENDINGS = (".png", ".jpg", ".jpeg")


def pictures(name: str, root: str | os.PathLike[str] | None = None) -> list[Picture]:
    """Load a standard set of gray pictures, in the order of its file.

    Looks for `denoise/NAME.npz`, then `NAME.npz`, in the data folder. The file is made by
    `np.savez_compressed("set12.npz", **{"01": picture, ...})`: one uint8 array `(height, width)` for each picture.

    Args:
        name: `"train400"`, `"bsd68"` or `"set12"`.
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If a folder that was named or the file is missing.
        ValueError: If the name is unknown, or the file is half-written, corrupt or not of this form.
    """
    if name not in SETS:
        raise ValueError(
            f"pictures: expected the name of a set, one of {tuple(SETS)}, received {name!r}: for pictures of your own "
            f"use pdoconv.data.folder(path)."
        )
    places = [folder / part / f"{name}.npz" for folder in data_folders(root) for part in ("denoise", "")]
    source = next((place for place in places if place.is_file()), None)
    if source is None:
        raise FileNotFoundError(
            f"The pictures of {name} were not found: looked for {', '.join(map(str, places))}. Put the file there or "
            f"set PDOCONV_DATA (a .npz with {SETS[name]} uint8 arrays (height, width), one a picture), or use "
            f"pdoconv.data.folder(path) for pictures of your own, or pdoconv.data.synthetic(n) for made ones."
        )
    try:
        with source.open("rb") as raw, np.load(raw) as file:
            found = [file[key] for key in file.files]
    except Exception as error:  # a damaged archive raises many kinds; whatever it is, the file is not used
        raise ValueError(
            f"{source} is half-written or corrupt and was not used ({type(error).__name__}: {error}): replace it."
        ) from error
    wrong = [(a.shape, str(a.dtype)) for a in found if a.dtype != np.uint8 or a.ndim != 2 or not a.size]
    if len(found) != SETS[name] or wrong:
        raise ValueError(
            f"{source}: expected {SETS[name]} uint8 arrays (height, width), received {len(found)} arrays"
            f"{f', one of them {wrong[0]}' if wrong else ''}. It was not used: replace it."
        )
    return found


def folder(path: str | os.PathLike[str], *, channels: int = 1) -> list[Picture]:
    """Read every PNG and JPEG picture of a folder, in the order of their names; needs Pillow (`pdoconv[train]`).

    Colours become gray by ITU-R 601 luma, transparency is dropped, 16 bits become 8, and the orientation that a camera
    noted is applied.

    Args:
        path: The folder; folders within it are not read.
        channels: 1 for gray pictures `(height, width)`, 3 for `(height, width, 3)` in red, green, blue.

    Raises:
        FileNotFoundError: If the folder does not exist or has no such picture.
        ValueError: If a picture cannot be read whole, or `channels` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ValueError(f"folder: expected channels 1 (gray) or 3 (red, green, blue), received {channels!r}.")
    place = Path(path)
    if not place.is_dir():
        raise FileNotFoundError(f"folder: {place} is not a folder: give the folder that holds the pictures.")
    files = sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS)
    if not files:
        raise FileNotFoundError(f"folder: {place} has no picture that ends in {', '.join(ENDINGS)}: add some.")
    return [_read(file, channels) for file in files]


def _read(file: Path, channels: int) -> Picture:
    try:
        pixels = read_pixels(file, channels)
    except ValueError as error:
        raise ValueError(f"folder: {file} cannot be read ({error}): replace or remove it.") from error
    return pixels.astype(np.uint8) if pixels.dtype == np.uint8 else np.rint(pixels / 257).astype(np.uint8)


def picture_hash(pictures: Sequence[Picture]) -> str:
    """Return the first 16 hexadecimal digits of the sha256 of shapes and raw bytes of a set, in order.

    >>> picture_hash([np.zeros((2, 3), np.uint8)]) == picture_hash([np.zeros((3, 2), np.uint8)])
    False
    """
    whole = hashlib.sha256()
    for picture in pictures:
        whole.update(f"{picture.shape} {picture.dtype}".encode())
        whole.update(np.ascontiguousarray(picture).tobytes())
    return whole.hexdigest()[:16]


def as_image(picture: Picture) -> Tensor:
    """Turn a picture `(height, width)` or `(height, width, 3)` into a float32 image `(1, channels, height, width)`.

    Values are divided by 255.

    Raises:
        ValueError: If it is not a uint8 array of such a shape.

    >>> as_image(np.full((4, 6, 3), 255, np.uint8)).shape
    torch.Size([1, 3, 4, 6])
    """
    _check([picture], 1, "as_image")
    whole = picture[..., None] if picture.ndim == 2 else picture
    return torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1)[None])).float() / 255


def patches(
    pictures: Sequence[Picture], *, batch: int, size: int, seed: int = 0, start: int = 0, symmetries: bool = False
) -> Iterator[Tensor]:
    """Yield random patches without end: batch k depends on the seed and k alone, so a resumed run repeats.

    Each patch comes from a picture drawn uniformly, at a place drawn uniformly.

    Args:
        pictures: All gray or all of three colours.
        batch: Patches of a batch.
        size: Pixels of a patch's side.
        seed: Of everything random.
        start: Number of the first batch to yield.
        symmetries: Whether each patch is also moved by one of the eight symmetries of the square, drawn uniformly.

    Returns:
        An iterator over float32 tensors `(batch, channels, size, size)` in [0, 1].

    Raises:
        ValueError: If an argument is out of range, or a picture is smaller than a patch.
    """
    if min(batch, size) < 1 or min(seed, start) < 0:
        raise ValueError(
            f"patches: expected batch >= 1, size >= 1, seed >= 0 and start >= 0, received {batch}, {size}, {seed}, "
            f"{start}."
        )
    _check(pictures, size, "patches")
    return _patches(pictures, batch, size, seed, start, symmetries)


def _patches(
    pictures: Sequence[Picture], batch: int, size: int, seed: int, start: int, symmetries: bool
) -> Iterator[Tensor]:
    step = start
    while True:
        rng = np.random.Generator(np.random.PCG64([seed, step]))
        parts = []
        for which in rng.integers(len(pictures), size=batch):
            height, width = pictures[which].shape[:2]
            row, column = rng.integers(height - size + 1), rng.integers(width - size + 1)
            part = pictures[which][row : row + size, column : column + size]
            if symmetries:
                part = np.rot90(part, int(rng.integers(4)))
                part = part if rng.integers(2) else part[:, ::-1]
            parts.append(part if part.ndim == 3 else part[..., None])
        yield torch.from_numpy(np.ascontiguousarray(np.stack(parts).transpose(0, 3, 1, 2))).float() / 255
        step += 1


def _check(pictures: Sequence[Picture], size: int, who: str) -> None:
    """Raise `ValueError` unless there are pictures, all of one number of channels and no side below `size`."""
    if not len(pictures):
        raise ValueError(f"{who}: expected at least one picture, received none.")
    for picture in pictures:
        gray = picture.ndim == 2
        if picture.dtype != np.uint8 or not (gray or (picture.ndim == 3 and picture.shape[2] == 3)):
            raise ValueError(
                f"{who}: expected pictures (height, width) or (height, width, 3) of uint8, received {picture.shape} "
                f"of {picture.dtype}."
            )
        if gray != (pictures[0].ndim == 2):
            raise ValueError(f"{who}: expected all pictures gray or all in colour, received both.")
        if min(picture.shape[:2]) < size:
            raise ValueError(
                f"{who}: expected sides of at least {size} pixels, received a picture {picture.shape}: use smaller "
                f"patches, or leave it out."
            )
