"""Tensors in a safetensors file: a length, a JSON header, bytes. The header is checked before a tensor is read.

The format: 8 bytes, the length of the header, little-endian; the header, `{name: {dtype, shape, data_offsets}}` with
strings under `__metadata__`; then the tensors without gaps (https://github.com/huggingface/safetensors). Written here
and not taken from the library of that name, because the core needs torch and numpy only, and to bound what a file can
ask for.
"""

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pdoconv.files.strict import parsed
from pdoconv.writing import whole_file

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
MOST_BYTES = 8 * 2**30
MOST_HEADER = 8 * 2**20
LONGEST_NAME = 500
PICKLES = (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6)))
"""How an archive of torch.save and a pickle begin."""
MOST_AXES = 16


@dataclass(frozen=True)
class Entry:
    """What the header says of a tensor."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    @property
    def bytes(self) -> int:
        """Number of bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Opened:
    """A file whose header was checked.

    Attributes:
        metadata: Strings by name.
        entries: What there is, by name.
    """

    metadata: dict[str, str]
    entries: dict[str, Entry]
    file: BufferedReader

    def tensor(self, name: str) -> Tensor:
        """Read a tensor; `ValueError` unless all its numbers are finite."""
        entry = self.entries[name]
        found = torch.empty(entry.shape, dtype=entry.dtype, device="cpu")
        self.file.seek(entry.start)
        if entry.bytes and self.file.readinto(_bytes_of(found)) != entry.bytes:
            raise ValueError(f"tensor {name!r} is truncated")
        if entry.dtype == torch.bool and entry.bytes and int(found.view(torch.uint8).max()) > 1:
            raise ValueError(f"tensor {name!r} holds bytes that are neither true nor false")
        require_finite(name, found)
        return found


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """Open a file and check its header, and that the tensors fill what follows without gap or overlap.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no regular file, not of this format, truncated, or asks for more than there is. Errors
            raised while it is open are given its name.
    """
    try:
        kind = path.stat()
        if not stat.S_ISREG(kind.st_mode):
            raise ValueError("it is a folder" if stat.S_ISDIR(kind.st_mode) else "it is no regular file")
        with path.open("rb") as file:
            yield _understood(file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"There is no file {path}: give one that pdoconv.save wrote.") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"{_shown(path)} was not used: {error}") from error


def _understood(file: BufferedReader) -> Opened:
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    if len(first) < 8:
        raise ValueError(f"{size} bytes are no safetensors file: it is empty or truncated")
    length = int.from_bytes(first, "little")
    if length > min(size - 8, MOST_HEADER) or size > MOST_BYTES:
        if first[:2] in PICKLES:  # which is no safe sign of one in a file with a header
            raise ValueError(
                "it holds a pickle, as torch.save writes, which can run any code when it is read, and it was not read: "
                "expected a safetensors file of pdoconv.save"
            )
        raise ValueError(
            f"a header of {length} bytes in a file of {size}: expected at most {MOST_HEADER} and {MOST_BYTES}, and the "
            f"header within the file; it is no safetensors file, or truncated"
        )
    header = parsed(file.read(length), "its header")
    if not isinstance(header, dict):
        raise ValueError(f"its header is no JSON object but {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its __metadata__ is no JSON object of strings")
    entries = {name: _entry(name, found, 8 + length) for name, found in header.items()}
    end = 8 + length
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].bytes)):
        if entry.start != end:
            raise ValueError(f"tensor {name!r} begins at byte {entry.start}, expected {end}: tensors overlap or gape")
        end += entry.bytes
    if end != size:
        raise ValueError(f"its tensors end at byte {end}, the file at {size}: it is truncated, or has more in it")
    return Opened(metadata, entries, file)


def _entry(name: str, found: Any, begin: int) -> Entry:
    """Check what the header says of one tensor."""
    require_name(name)
    if not isinstance(found, dict) or set(found) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name!r}: expected dtype, shape and data_offsets, received {_short(found)}")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, received {_short(dtype)}")
    if not _are_sizes(shape) or len(shape) > MOST_AXES or not _are_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r}: expected shape and two offsets, received {_short([shape, offsets])}")
    entry = Entry(DTYPES[dtype], tuple(shape), begin + offsets[0])
    if entry.bytes != offsets[1] - offsets[0]:
        raise ValueError(f"tensor {name!r} of {_short(shape)} {dtype} has {entry.bytes} bytes, other than its offsets")
    return entry


def _are_sizes(found: Any) -> bool:
    return isinstance(found, list) and all(type(n) is int and 0 <= n < 2**48 for n in found)


def require_name(name: str) -> None:
    """Raise `ValueError` unless a tensor may have this name: nothing that a file system or a reader could mistake."""
    parts = name.split(".")
    if len(name) > LONGEST_NAME or not name.isprintable() or set(name) & set("/\\") or not all(parts):
        raise ValueError(
            f"a tensor's name is {_short(name)}: expected at most {LONGEST_NAME} printable characters without slashes, "
            f"with single dots between parts"
        )


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise `ValueError` if a number is not finite."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(f"tensor {name!r} has numbers that are not finite")


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors to a file, whole or not at all, each contiguous; an older file is replaced.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a dtype, a name or the size is none of this format.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    order = sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize)  # each then lies at a multiple of its size
    place = 0
    for name in order:
        require_name(name)
        tensor = tensors[name]
        if tensor.dtype not in NAMES:
            raise ValueError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, received {tensor.dtype}")
        end = place + tensor.numel() * tensor.dtype.itemsize
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [place, end]}
        place = end
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_HEADER or place + len(text) + 8 > MOST_BYTES:
        raise ValueError(f"{place} bytes, {len(text)} of header: expected at most {MOST_BYTES} and {MOST_HEADER}")
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(_bytes_of(tensors[name].detach().to("cpu").contiguous()))


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor."""
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # an array is a buffer


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 100 else text[:100] + "..."


def _shown(path: Path) -> str:
    return str(path).encode("ascii", "backslashreplace").decode()
