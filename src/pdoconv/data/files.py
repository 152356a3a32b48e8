"""Where data files are, and how they are read only when whole."""

import hashlib
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from numpy.typing import NDArray

from pdoconv.progress import progress


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


def read_archive(archive: Path, md5: str, names: Sequence[str]) -> list[bytes]:
    """Return files of a compressed tar archive of known md5, in the order of `names`; nothing is written to disk.

    Raises:
        ValueError: If the archive is not the expected one.
    """
    parts = progress(_members(archive, md5, names), total=len(names) + 1, title=f"reading {archive.name}")
    found = dict(parts)
    return [found[name] for name in names]


def _members(archive: Path, md5: str, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    require_hash(archive, "md5", md5)
    yield "", b""
    missing = set(names)
    with tarfile.open(archive, "r:gz") as members:
        for member in members:  # in the order of the archive, as going back would decompress it again
            file = members.extractfile(member) if member.name in missing else None
            if file is not None:
                missing.remove(member.name)
                yield member.name, file.read()
            if not missing:
                return
    raise ValueError(f"{archive} lacks {', '.join(sorted(missing))}: it was not used. Replace or remove it.")


def read_files(folder: Path, names: Sequence[str]) -> list[bytes]:
    """Return files of a folder, in the order of `names`.

    Raises:
        FileNotFoundError: If some are missing, all of which are named.
    """
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}: add what is missing, or remove the folder.")
    return [(folder / name).read_bytes() for name in names]


def array_hash(array: NDArray) -> str:  # type: ignore[type-arg]  # any dtype
    """Return the first 16 hexadecimal digits of the sha256 of an array's raw bytes."""
    return hashlib.sha256(array.tobytes()).hexdigest()[:16]
