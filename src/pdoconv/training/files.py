"""Files of a run: whole or not there, and a folder that one run has to itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pdoconv.writing import whole_file as whole_file

try:
    import fcntl
except ModuleNotFoundError:  # Windows has none, and folders are not locked there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a folder and keep other runs out of it; the system lets go of it when the process ends, however it ends.

    Raises:
        FileExistsError: If another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY) if fcntl else None
    try:
        if lock is not None:
            _take(lock, folder)
        yield
    finally:
        if lock is not None:
            os.close(lock)
        with suppress(OSError):
            folder.rmdir()  # only if it is empty: nothing could be started


def _take(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FileExistsError(
            f"Another run is at work in {folder}: wait until it ends, or choose another folder with --run."
        ) from error
    except OSError:
        pass  # a file system without locks
