"""Networks by name."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from pdoconv.files.made import noted
from pdoconv.filters import family
from pdoconv.models.denoiser import denoiser
from pdoconv.models.e2cnn import e2cnn
from pdoconv.models.hexaconv import hexaconv_p6, hexaconv_p6m
from pdoconv.models.hnet import hnet
from pdoconv.models.mnist_large import mnist_large
from pdoconv.models.mnist_small import mnist_small
from pdoconv.models.neural_ode import neural_ode, neural_ode_resnet
from pdoconv.models.neural_pde import neural_pde
from pdoconv.models.orn import orn8_align
from pdoconv.models.p4cnn import p4cnn, z2cnn
from pdoconv.models.ptn import ptn
from pdoconv.models.resnets import (
    gcnn_resnet44_p4m,
    pdo_resnet26_p6,
    pdo_resnet26_p6m,
    pdo_resnet44_p8,
    pdo_wrn26_p8,
    resnet_1001,
    wrn_28_10,
    z2_resnet26,
    z2_resnet44,
)
from pdoconv.models.roteqnet import roteqnet
from pdoconv.models.sfcnn import sfcnn
from pdoconv.models.unet import unet
from pdoconv.pointgroups import group as group_of

MODELS: dict[str, Callable[..., nn.Module]] = {
    "z2cnn": z2cnn,
    "p4cnn": p4cnn,
    "sfcnn": sfcnn,
    "e2cnn": e2cnn,
    "hnet": hnet,
    "roteqnet": roteqnet,
    "orn8-align": orn8_align,
    "ptn-b": ptn,
    "hexaconv-p6": hexaconv_p6,
    "hexaconv-p6m": hexaconv_p6m,
    "gcnn-resnet44-p4m": gcnn_resnet44_p4m,
    "resnet-1001": resnet_1001,
    "wrn-28-10": wrn_28_10,
    "z2-resnet26": z2_resnet26,
    "z2-resnet44": z2_resnet44,
    "pdo-mnist-small": mnist_small,
    "pdo-mnist-large": mnist_large,
    "pdo-resnet44-p8": pdo_resnet44_p8,
    "pdo-resnet26-p6": pdo_resnet26_p6,
    "pdo-resnet26-p6m": pdo_resnet26_p6m,
    "pdo-wrn26-p8": pdo_wrn26_p8,
    "neural-ode": neural_ode,
    "neural-ode-resnet": neural_ode_resnet,
    "neural-pde": neural_pde,
    "pdo-unet": unet,
    "pdo-denoiser": denoiser,
}
"""Functions that return a network, by the name of the network."""


def names() -> tuple[str, ...]:
    """Return the names that `create` knows."""
    return tuple(MODELS)


def create(name: str, **config: Any) -> nn.Module:
    """Return a freshly initialised network, as published unless told otherwise.

    Args:
        name: One of `names()`.
        **config: Arguments of the network's function, such as `classes=100`. Groups and filter families may be names
            here, `group="p8"`, `filters="gaussian"`, so that a configuration can be plain JSON.

    Raises:
        ValueError: If a name is not known, or the network has no such argument.

    >>> sum(p.numel() for p in create("p4cnn").parameters())
    24680
    """
    if name not in MODELS:
        raise ValueError(f"Unknown network {name!r}: expected one of {', '.join(MODELS)}.")
    for key, find in (("group", group_of), ("filters", family)):
        if isinstance(config.get(key), str):
            config[key] = find(config[key])
    known = inspect.signature(MODELS[name])
    try:
        known.bind(**config)
        return noted(MODELS[name])(**config)
    except TypeError as error:
        if "unexpected keyword argument" not in str(error):
            raise
        takes = ", ".join(f"**{key}" if p.kind is p.VAR_KEYWORD else key for key, p in known.parameters.items())
        raise ValueError(f"Network {name!r}: {error}; it takes {takes}.") from error
