"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_file(path: Path, *, ending: str = "") -> Iterator[Path]:
    """Give a file beside `path` to be written; on the disk itself it takes the place of `path`, or goes if that failed.

    It gets the permissions of any new file, whatever wrote it.

    Args:
        path: The file; its folder is made.
        ending: Of the file to be written, such as `".png"`, for writers that go by it; then it is no `*.part`.

    Raises:
        OSError: If it cannot be written, such as to a full disk; what was at `path` is still there.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.part{ending}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            permissions = os.fstat(file.fileno()).st_mode & 0o777
        partial.unlink()
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.chmod(permissions)
        partial.replace(path)
    except Exception as error:
        # torch's and safetensors' own for a full disk
        if not isinstance(error, OSError | RuntimeError) and type(error).__name__ != "SafetensorError":
            raise
        raise OSError(
            f"{path} could not be written ({error}): see that the disk has room and the folder is yours. What was "
            f"there before is intact, and a run goes on with --resume."
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
