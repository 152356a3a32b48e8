"""Where data files are, and how they are read only when whole."""

import hashlib
import os
from pathlib import Path

from numpy.typing import NDArray


def data_folders(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Return where to look for data: `root` or `$PDOCONV_DATA` alone if named, else `./data` and a source checkout's.

    Raises:
        FileNotFoundError: If a folder that was named does not exist.
    """
    named = root or os.environ.get("PDOCONV_DATA")
    if not named:
        return [Path("data"), Path(__file__).resolve().parents[3] / "data"]
    if not Path(named).is_dir():
        raise FileNotFoundError(f"Data folder {named!s} does not exist: make it, or set PDOCONV_DATA to another.")
    return [Path(named)]


def data_root(root: str | os.PathLike[str] | None = None) -> Path:
    """Return the data folder: `root`, `$PDOCONV_DATA`, `./data` if it holds `mnist*`, or that of a source checkout.

    Raises:
        FileNotFoundError: If a folder that was named does not exist, or none can be found.
    """
    folders = data_folders(root)
    if len(folders) == 1:
        return folders[0]
    for folder in folders:
        if any(folder.glob("mnist*")):  # a project's own folder of that name is not meant
            return folder
    raise FileNotFoundError("No data folder found: pass root=..., or set PDOCONV_DATA to the folder with mnist.npz.")


def file_hash(path: Path, algorithm: str) -> str:
    """Return the hexadecimal hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def require_hash(path: Path, algorithm: str, expected: str) -> None:
    """Raise `ValueError` unless a file has the expected hash."""
    found = file_hash(path, algorithm)
    if found != expected:
        raise ValueError(
            f"{path} is not the expected file ({algorithm} {expected}): it is half-written, corrupt or another one "
            f"({path.stat().st_size} bytes, {algorithm} {found}). It was not used: replace or remove it."
        )


def array_hash(array: NDArray) -> str:  # type: ignore[type-arg]  # any dtype
    """Return the first 16 hexadecimal digits of the sha256 of an array's raw bytes."""
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]
