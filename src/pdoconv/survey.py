"""What `pdoconv measure` finds out about a run, a filter family or a module of the user's."""

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdoconv import measure
from pdoconv.filters import FAMILIES, family
from pdoconv.measure.curves import typed_layers
from pdoconv.nn import PDOConv2d
from pdoconv.pointgroups import cyclic
from pdoconv.training.folder import RunFolder

Curves = dict[str, Mapping[Any, float]]
SIZES = (17, 33, 65, 129)


def load(target: str) -> tuple[nn.Module, int]:
    """Return a module and the side of its inputs.

    Args:
        target: Folder of a finished run; or a name of `pdoconv.filters.FAMILIES`, for one random layer of C8; or
            `package.module:name`, a module or a function that returns one, with `in_type` and `out_type`.

    Raises:
        FileNotFoundError: If it is none of these.
        ValueError: If what the name stands for is no module, or a network for volumes.
    """
    if target in FAMILIES:
        torch.manual_seed(0)
        hidden = cyclic(8).regular(2)
        return PDOConv2d(hidden, hidden, filters=family(target), padding=2, bias=False, dtype=torch.float64), 33
    if ":" in target and not Path(target).exists():
        package, _, name = target.partition(":")
        found = getattr(importlib.import_module(package), name, None)
        module = found() if callable(found) and not isinstance(found, nn.Module) else found
        if not isinstance(module, nn.Module):
            raise ValueError(f"{target} is no torch module and returns none: received {type(module).__name__}.")
        return module, getattr(module, "example_side", None) or 33
    folder = RunFolder(Path(target))
    if not folder.config.exists():
        raise FileNotFoundError(
            f"{target} is not a run's folder, nor package.module:name, nor a filter family ({', '.join(FAMILIES)})."
        )
    _, settings = folder.read_config()
    if len(settings.image_shape) != 2:
        raise ValueError(f"{target} classifies volumes: expected a run on images of the plane. Use another run.")
    net, _, _ = folder.load_model()
    return net, settings.image_shape[0]


def survey(
    module: nn.Module, *, size: int, rotation: float = 45.0, frequency: float = 0.4, step: float = 5.0
) -> dict[str, Curves]:
    """Measure over angle, frequency, grid size and depth, as far as each makes sense for the module.

    Args:
        module: A layer, or a network with typed layers.
        size: Side of the inputs.
        rotation: Degrees, for all but the first.
        frequency: Highest frequency of the smooth inputs, radians per pixel; over sizes, 2 waves a unit of length.
        step: Degrees between the angles at which invariant outputs are measured.

    Returns:
        Panels by name, each curves by label, each errors by angle, frequency, size or name of the layer.
    """
    layers = typed_layers(module)
    if not layers and getattr(module, "out_type", None) is None:
        return {"angle": {"output": _untyped(module, size, frequency, step)}}
    layers = layers or {"": module}
    convolutions = {name: part for name, part in layers.items() if callable(getattr(part, "kernel", None))}
    options = {"size": size, "frequency": frequency, "smooth": True}
    angles: Curves = {}
    found = {"angle": angles}
    _say("over the angle")
    for name in dict.fromkeys((next(iter(layers)), list(layers)[-1])):
        order = layers[name].out_type.group.order
        turns = [360 * k / order for k in range(order + 1)]
        angles[_label(name)] = measure.equivariance_curve(module, turns, at=name or None, **options)
    first_type = next(part.in_type for part in layers.values() if hasattr(part, "in_type"))
    if _output(module, first_type.channels, size).dim() == 2:
        every = [step * k for k in range(int(360 / step) + 1)]
        angles["output (invariance)"] = measure.equivariance_curve(module, every, **options)
    if convolutions:
        _say("over frequency and grid size")
        band = np.geomspace(0.05, np.pi, 25).tolist()
        found["frequency"] = {
            _label(name): measure.layer_error(part, band, rotation=rotation) for name, part in convolutions.items()
        }
        first = next(iter(convolutions))
        found["size"] = {
            _label(first): measure.error_over_size(convolutions[first], SIZES, rotation=rotation, samples=4)
        }
    if len(layers) > 1:
        _say("over depth")
        errors = measure.error_over_depth(module, rotation, size=size, frequency=frequency)
        found["depth"] = {f"{rotation:g} degrees": errors}
    return found


def _say(what: str) -> None:
    print(f"measuring the equivariance error {what}", file=sys.stderr, flush=True)


def _label(name: str) -> str:
    return f"layer {name}" if name else "layer"


def _untyped(module: nn.Module, size: int, frequency: float, step: float) -> dict[float, float]:
    """Measure a module that says nothing of types: channels are scalars, features are invariants."""
    first = next((part for part in module.modules() if isinstance(part, nn.Conv2d)), None)
    if first is None:
        raise ValueError("The module has neither field types nor an nn.Conv2d: set in_type and out_type on it.")
    plane = cyclic(1)
    out = _output(module, first.in_channels, size).shape[1]
    types = {"in_type": plane.trivial(first.in_channels), "out_type": plane.trivial(out)}
    every = [step * k for k in range(int(360 / step) + 1)]
    return measure.equivariance_curve(module, every, size=size, frequency=frequency, smooth=True, **types)


def _output(module: nn.Module, channels: int, size: int) -> Tensor:
    """Return the output for a blank input."""
    like = next(module.parameters(), torch.empty(0))
    training = module.training
    with torch.no_grad():
        y: Tensor = module.eval()(torch.zeros(2, channels, size, size).to(like))
    module.train(training)
    return y
