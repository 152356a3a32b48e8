"""Pickles are programs: a reader that runs none, and makes only arrays and what Python is made of."""

import io
import pickle
from typing import Any

import numpy as np

_MAKE_ARRAY = np.empty(0).__reduce__()[0]
ADMITTED: dict[str, Any] = {
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "numpy.core.multiarray._reconstruct": _MAKE_ARRAY,
    "numpy._core.multiarray._reconstruct": _MAKE_ARRAY,
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle asks for if arrays need it."""
        if f"{module}.{name}" not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only arrays are admitted")
        return ADMITTED[f"{module}.{name}"]


def read_pickle(content: bytes, name: str) -> dict[str, Any]:
    """Return the dictionary that a pickle, also one of Python 2, holds; strings of bytes become str.

    Args:
        content: The pickle.
        name: What errors call it.

    Raises:
        ValueError: If it is damaged, asks for anything but numpy arrays, or is no dictionary.
    """
    try:
        found = _ArraysOnly(io.BytesIO(content), encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises many kinds; whatever it is, the file is not used
        raise ValueError(
            f"{name} cannot be read ({error}): half-written, corrupt or unsafe. It was not used: replace it."
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected a dictionary, received {type(found).__name__}. It was not used.")
    return found
