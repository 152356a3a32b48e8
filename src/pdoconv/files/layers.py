"""Architectures as JSON: trees of layers, each the name of its class and its constructor's arguments.

Names are looked up in `LAYERS`, which holds the layers of this package and those of torch that compute from their input
alone, and in `made.NETWORKS`. A module that is met twice is described once.
"""

import inspect
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from torch import nn

import pdoconv.nn
from pdoconv.files.made import NETWORKS, note_of
from pdoconv.files.sizes import require_sizes
from pdoconv.files.values import OwnCodeError, described, rebuilt
from pdoconv.nn.synchronised import ALONE
from pdoconv.pde import PDEBlock

TORCH = (
    "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
    "AlphaDropout AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d CELU Conv1d Conv2d Conv3d "
    "ConvTranspose1d ConvTranspose2d ConvTranspose3d Dropout Dropout1d Dropout2d Dropout3d ELU Flatten GELU GroupNorm "
    "Hardsigmoid Hardswish Identity InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm LeakyReLU Linear "
    "LocalResponseNorm LogSigmoid LogSoftmax MaxPool1d MaxPool2d MaxPool3d Mish PReLU PixelShuffle PixelUnshuffle ReLU "
    "ReLU6 SELU Sequential SiLU Sigmoid Softmax Softplus Softsign Tanh Unflatten Upsample"
)
LAYERS: dict[str, type[nn.Module]] = {
    **{f"torch.nn.{name}": getattr(nn, name) for name in TORCH.split()},
    **{
        name: layer
        for name, layer in vars(pdoconv.nn).items()
        if isinstance(layer, type) and issubclass(layer, nn.Module)
    },
    "PDEBlock": PDEBlock,
}
"""Classes that a file may name. `pdoconv.models` adds its own."""

MOST_LAYERS = 10_000
PLACE = ("device", "dtype")
READ: dict[tuple[str, str], Callable[[Any], Any]] = {
    ("Restrict", "subgroup"): lambda layer: layer.out_type.group,
    ("VectorOutput", "vectors"): lambda layer: layer.out_type.fields,
    ("HarmonicConv2d", "phase"): lambda layer: layer.phase is not None,
    ("DomainBatchNorm2d", "eps"): lambda layer: layer.norm.eps,
    ("DomainBatchNorm2d", "momentum"): lambda layer: layer.norm.momentum,
    ("MagnitudeBatchNorm2d", "eps"): lambda layer: layer.norm.eps,
    ("MagnitudeBatchNorm2d", "momentum"): lambda layer: layer.norm.momentum,
    ("PDEBlock", "field"): lambda layer: layer.fields[0] if len(layer.fields) == 1 else list(layer.fields),
}
"""Arguments that are no attribute of the same name."""


def describe(net: nn.Module, *, notes: bool = True) -> dict[str, Any]:
    """Return the architecture of a network.

    Args:
        net: The network.
        notes: Go by what functions of `pdoconv.models` noted on it; otherwise by its layers alone.

    Raises:
        OwnCodeError: If it holds a module that the tables do not have.
    """
    return _describe(net, {}, notes)


def build(found: Any) -> nn.Module:
    """Return a network of an architecture, freshly initialised.

    Raises:
        ValueError: If the tables do not have a name, or an argument is none.
    """
    return _build(found, [])


def _describe(net: nn.Module, seen: dict[nn.Module, int], notes: bool) -> dict[str, Any]:
    if net in seen:
        return {"same": seen[net]}
    kind = ALONE.get(type(net), type(net))
    note = note_of(net) if notes else None
    if note is not None:
        found = {"network": note[0], "arguments": {key: described(value) for key, value in note[1].items()}}
    elif LAYERS.get(name := _name(kind)) is not kind:
        raise OwnCodeError(f"{kind.__module__}.{kind.__qualname__} is code of its own")
    elif isinstance(net, nn.Sequential):
        parts = {key: _describe(part, seen, notes) for key, part in net._modules.items() if part is not None}
        found = {"layer": name, "parts": parts}
    else:
        keys = _arguments(kind)  # type: ignore[arg-type]  # mypy takes a class of modules for one without a hash
        found = {"layer": name, "arguments": {key: _argument(net, name, key, seen, notes) for key in keys}}
    seen[net] = len(seen)
    return found


def _name(kind: type[nn.Module]) -> str:
    return f"torch.nn.{kind.__name__}" if kind.__module__.startswith("torch.nn.") else kind.__name__


@lru_cache(maxsize=512)
def _arguments(kind: type[nn.Module]) -> tuple[str, ...]:
    """Return the names of a constructor's arguments, those that it passes on to a base class too."""
    found: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found += [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return tuple(name for name in dict.fromkeys(found) if name not in ("self", "frame_offset", *PLACE))


def _argument(layer: nn.Module, kind: str, key: str, seen: dict[nn.Module, int], notes: bool) -> Any:
    """Return an argument of a layer as it was, or means the same."""
    if (kind, key) in READ:
        value = READ[kind, key](layer)
    elif key == "bias":
        value = layer.bias is not None
    elif not hasattr(layer, key):
        raise OwnCodeError(f"{kind} does not keep its argument {key}")
    else:
        value = getattr(layer, key)
    if isinstance(value, nn.Module):
        return _describe(value, seen, notes)
    if isinstance(value, list) and value and isinstance(value[0], nn.Module):
        return [_describe(part, seen, notes) for part in value]
    return described(value)


def _build(found: Any, built: list[nn.Module]) -> nn.Module:
    if not isinstance(found, dict):
        raise ValueError(f"expected a layer as an object, received {found!a:.80}")
    if len(built) >= MOST_LAYERS:
        raise ValueError(f"more than {MOST_LAYERS} layers")
    if set(found) == {"same"}:
        if type(found["same"]) is not int or not 0 <= found["same"] < len(built):
            raise ValueError(f"the same layer as number {found['same']!a:.40}, of {len(built)} before it")
        return built[found["same"]]
    if set(found) == {"network", "arguments"}:
        make = _looked_up(NETWORKS, found["network"], "network")
        net: nn.Module = make(**_given(found["arguments"], found["network"], built))
    elif set(found) == {"layer", "parts"}:
        kind = _looked_up(LAYERS, found["layer"], "layer")
        if not issubclass(kind, nn.Sequential) or not isinstance(found["parts"], dict):
            raise ValueError(f"{found['layer']} has no parts")
        net = kind(OrderedDict((key, _build(part, built)) for key, part in found["parts"].items()))
    elif set(found) == {"layer", "arguments"}:
        kind = _looked_up(LAYERS, found["layer"], "layer")
        net = kind(**_given(found["arguments"], found["layer"], built, _arguments(kind)))
    else:
        raise ValueError(
            f"expected network or layer with arguments, or layer with parts, received {sorted(found)!a:.80}"
        )
    built.append(net)
    return net


def _looked_up(table: dict[str, Any], name: Any, what: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise ValueError(f"a {what} of the name {name!a:.80}, which this version of pdoconv does not have")
    return table[name]


def _given(found: Any, name: str, built: list[nn.Module], known: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return the arguments of a layer or network, within bounds; layers among them are built."""
    if not isinstance(found, dict):
        raise ValueError(f"{name}: expected arguments as an object, received {found!a:.80}")
    if unknown := [key for key in found if key in PLACE or (known is not None and key not in known)]:
        raise ValueError(f"{name}: unknown arguments {unknown!a:.80}")
    given: dict[str, Any] = {}
    for key, value in found.items():
        if _is_layer(value):
            given[key] = _build(value, built)
        elif isinstance(value, list) and value and _is_layer(value[0]):
            given[key] = [_build(part, built) for part in value]
        else:
            given[key] = rebuilt(value)
    require_sizes(name, given)
    return given


def _is_layer(value: Any) -> bool:
    return isinstance(value, dict) and not set(value).isdisjoint(("layer", "network", "same"))
