"""Networks by name."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from pdoconv.models.e2cnn import e2cnn
from pdoconv.models.mnist_small import mnist_small
from pdoconv.models.p4cnn import p4cnn, z2cnn
from pdoconv.models.ptn import ptn
from pdoconv.models.sfcnn import sfcnn

MODELS: dict[str, Callable[..., nn.Module]] = {
    "z2cnn": z2cnn,
    "p4cnn": p4cnn,
    "sfcnn": sfcnn,
    "e2cnn": e2cnn,
    "ptn-b": ptn,
    "pdo-mnist-small": mnist_small,
}
"""Functions that return a network, by the name of the network."""


def names() -> tuple[str, ...]:
    """Return the names that `create` knows."""
    return tuple(MODELS)


def create(name: str, **config: Any) -> nn.Module:
    """Return a freshly initialised network, as published unless told otherwise.

    Args:
        name: One of `names()`.
        **config: Arguments of the network's function, such as `classes=100`.

    Raises:
        ValueError: If the name is not known, or the network has no such argument.

    >>> sum(p.numel() for p in create("p4cnn").parameters())
    24680
    """
    if name not in MODELS:
        raise ValueError(f"Unknown network {name!r}: expected one of {', '.join(MODELS)}.")
    known = inspect.signature(MODELS[name])
    try:
        known.bind(**config)
    except TypeError as error:
        raise ValueError(f"Network {name!r}: {error}; it takes {', '.join(known.parameters)}.") from error
    return MODELS[name](**config)
