"""The 70,000 handwritten digits of MNIST (LeCun et al., 1998), upright, from `mnist.npz`."""

import os

import numpy as np

from pdoconv.data.files import data_root, require_hash
from pdoconv.data.splits import Images

SHA256 = "06af5dfe73b70e3bc1c36439982b18a8d76803db9b544f6fdf838a37fbb01b64"
Digits = tuple[Images, Images]
"""Digits `(n, 28, 28)` uint8, white on black, and their numbers `(n,)` uint8."""


def mnist(root: str | os.PathLike[str] | None = None) -> tuple[Digits, Digits]:
    """Return the 60,000 training and the 10,000 test digits.

    Args:
        root: Data folder; default `$PDOCONV_DATA`, `./data`, or the `data` folder of the source checkout.

    Raises:
        FileNotFoundError: If the folder or `mnist.npz` in it is missing.
        ValueError: If it is not the expected file.
    """
    folder = data_root(root)
    source = folder / "mnist.npz"
    if not source.exists():
        raise FileNotFoundError(
            f"{folder} lacks mnist.npz (the 70,000 MNIST digits: keys x_train, y_train, x_test, y_test): add it, or "
            f"set PDOCONV_DATA to a folder that has it."
        )
    require_hash(source, "sha256", SHA256)
    with np.load(source) as file:
        return (file["x_train"], file["y_train"]), (file["x_test"], file["y_test"])
