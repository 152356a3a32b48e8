"""Files of a run: whole or not there, and a folder that one run has to itself."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

try:
    import fcntl
except ModuleNotFoundError:  # Windows has none, and folders are not locked there
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a file beside `path` to be written; on the disk itself it takes the place of `path`, or goes if that failed.

    Raises:
        OSError: If it cannot be written, such as to a full disk; what was at `path` is still there.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own for a full disk
        raise OSError(
            f"{path} could not be written ({error}): see that the disk has room and the folder is yours. What was "
            f"there before is intact, and a run goes on with --resume."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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
