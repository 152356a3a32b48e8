"""What the writers of ONNX files share."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pdoconv.writing import whole_file


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the exporters log and warn of from the terminal: it is about their inner workings."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def session(model: bytes) -> Any:
    """Return onnxruntime's session of a model on the CPU; the errors are onnxruntime's own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def first_line(error: Exception) -> str:
    """Return what an error says, shortened to its first line, without a full stop."""
    line = (f"{error}".strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {line.partition('! For more information')[0][:200].rstrip('.')}"


def require_target(path: Path) -> None:
    """Raise an error unless a file can be made at `path`."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"Folder {path.parent} does not exist: make it first.")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it.")


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; what was there stays until then."""
    with whole_file(path) as file:
        file.write_bytes(content)
