"""`pdoconv.save` and `pdoconv.load`."""

import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pdoconv.files.bases import fingerprints, ring_fingerprints
from pdoconv.files.document import understood, written
from pdoconv.files.layers import build, describe
from pdoconv.files.sizes import at_most
from pdoconv.files.tensors import Opened, opened, require_finite, write
from pdoconv.nn.synchronised import ALONE

OWN = "own"


@dataclass(frozen=True)
class Saved:
    """What a file held.

    Attributes:
        model: The network.
        about: What was written with it for people.
    """

    model: nn.Module
    about: dict[str, Any] = field(default_factory=dict)


def save(model: nn.Module, path: str | os.PathLike[str], *, about: dict[str, Any] | None = None) -> None:
    """Write a network to one file of numbers and JSON, whole or not at all; an older file is replaced.

    The file is of the format safetensors: parameters and persistent buffers, and in its metadata the architecture,
    fingerprints of the filters, and `about`. Of networks made by `pdoconv.models`, and of trees of this package's
    layers and torch's, `load` makes the network anew. Of other classes the file holds weights only, and `load` fills a
    network that you made. Hooks, devices, `requires_grad`, training mode and optimizers are not kept.

    Args:
        model: The network.
        path: File to write, by custom `*.safetensors`; its folder is made.
        about: Anything for people that JSON can hold, such as how it was trained.

    Raises:
        OSError: If the file cannot be written; what was there is intact.
        ValueError: If a number is not finite, a tensor is none that the format knows, or `about` is not JSON. Nothing
            is written then.

    >>> import tempfile
    >>> from pdoconv import PDOConv2d, cyclic
    >>> net = PDOConv2d(cyclic(8).trivial(1), cyclic(8).regular(2))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, f"{folder}/net.safetensors", about={"title": "one layer"})
    ...     again = load(f"{folder}/net.safetensors")
    >>> torch.equal(net.weight, again.weight)
    True
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"save: expected an nn.Module, received {type(model).__name__}.")
    if about is not None and not isinstance(about, dict):
        raise ValueError(f"save: about must be a dict, received {type(about).__name__}.")
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        _require_plain(name, value)
        if id(value) in first:
            tied[name] = first[id(value)]
        else:
            first[id(value)] = name
            tensors[name] = value.detach()
    metadata = written(
        {
            "pdoconv": sys.modules["pdoconv"].__version__,  # not imported from below
            "architecture": _architecture(model),
            "filters": fingerprints(model),
            "rings": ring_fingerprints(model),
            "tied": tied,
            "about": about or {},
        }
    )
    try:
        write(Path(path), tensors, metadata)
    except ValueError as error:
        raise ValueError(f"save: {error}: nothing was written.") from error


def load(path: str | os.PathLike[str], model: nn.Module | None = None) -> nn.Module:
    """Return the network of a file that `save` wrote, or fill one with its weights. Nothing in a file is executed.

    Everything is checked before anything is loaded: names, shapes, dtypes and finiteness of all tensors, and that this
    version makes the filters that the weights were trained with. Files of training runs can be read too.

    Args:
        path: The file.
        model: A network of the same architecture and dtype, to be filled in place; it stays as it was if that fails.
            Needed for networks of classes outside this package and torch.

    Returns:
        A new network, on the CPU and in eval mode; or `model`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file, damaged, from a newer version, or does not fit: says what is wrong.
    """
    if model is not None and not isinstance(model, nn.Module):
        raise ValueError(f"load: expected an nn.Module to fill, received {type(model).__name__}.")
    return read(path, model).model


def read(path: str | os.PathLike[str], model: nn.Module | Callable[[], nn.Module] | None = None) -> Saved:
    """Return what a file holds: the network, and what was written about it.

    Arguments and errors of `load`; `model` may also be a function that makes the network, within what the file holds.
    """
    with opened(Path(path)) as file:
        document = understood(file.metadata)
        net = model if isinstance(model, nn.Module) else _made(document, file, model)
        for key, marks in (("filters", fingerprints(net)), ("rings", ring_fingerprints(net))):
            if document[key] is not None and set(document[key]) != set(marks):
                raise ValueError(
                    f"it was made with filters {','.join(document[key])[:200]!a}, this network has {','.join(marks)}: "
                    f"make the network with the group and the filters that it had then, in the version of pdoconv that "
                    f"wrote it ({document['pdoconv'][:40]!a}), or train again"
                )
        _fill(net, file, document["tied"], new=net is not model)
    return Saved(net if net is model else net.eval(), document["about"])


def _require_plain(name: str, value: object) -> None:
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        raise ValueError(f"save: {name} is no dense tensor but {type(value).__name__}: nothing was written.")
    if value.is_meta or nn.parameter.is_lazy(value):
        raise ValueError(f"save: {name} has no numbers yet: call the network once. Nothing was written.")
    try:
        require_finite(name, value.detach())
    except ValueError as error:
        raise ValueError(f"save: {error}: nothing was written.") from error


def _architecture(model: nn.Module) -> dict[str, Any]:
    """Return an architecture from which the same network was made just now, else the name of its class."""
    shapes = [value.shape for value in model.state_dict().values()]
    for notes in (True, False):
        try:
            found = describe(model, notes=notes)
            with _within(shapes):
                again = build(found)
        except Exception:  # whatever its own code or a table raises: then it is not made from a description
            continue
        if _outline(again) == _outline(model):
            return found
    return {OWN: f"{type(model).__module__}.{type(model).__qualname__}"}


def _outline(net: nn.Module) -> list[object]:
    """Return what two networks have in common that compute alike with the same tensors."""
    parts = [
        (name, ALONE.get(type(m), type(m)), m.extra_repr()) for name, m in net.named_modules(remove_duplicate=False)
    ]
    shapes = [(name, value.shape) for name, value in net.state_dict().items()]
    hooks = [bool(m._forward_hooks or m._forward_pre_hooks or "forward" in vars(m)) for m in net.modules()]
    return [parts, shapes, hooks, fingerprints(net), ring_fingerprints(net)]


@contextmanager
def _within(shapes: Iterable[Sequence[int]]) -> Iterator[None]:
    """Build within what tensors of these shapes hold, and without a trace in the random numbers."""
    sizes = [math.prod(shape) for shape in shapes]
    with torch.random.fork_rng(devices=[]), at_most(len(sizes), sum(sizes)):
        yield


def _made(document: dict[str, Any], file: Opened, make: Callable[[], nn.Module] | None) -> nn.Module:
    """Make the network of a file, within what it holds, by its architecture or by a function."""
    architecture, about = document["architecture"], document["about"]
    if make is None and set(architecture) == {OWN}:
        run = " It is of a run of pdoconv 0.1.0: RunFolder.load_model makes it." if "settings" in about else ""
        raise ValueError(
            f"it holds the weights of {architecture[OWN]!a:.200}, whose code no file can hold: make the network, and "
            f"give it as load(path, model=net).{run}"
        )
    try:
        with _within(entry.shape for entry in file.entries.values()):
            net = build(architecture) if make is None else make()
    except Exception as error:  # a constructor may raise anything for arguments of a stranger
        reason = (str(error).splitlines() or [""])[0][:300] or type(error).__name__
        raise ValueError(f"its architecture cannot be made: {reason}") from error
    floats = {entry.dtype for entry in file.entries.values() if entry.dtype.is_floating_point}
    return net.to(floats.pop()) if len(floats) == 1 else net


def _require_same(state: dict[str, Any], file: Opened, tied: dict[str, str]) -> None:
    """Raise `ValueError` unless file and network have tensors of the same names and shapes, and kinds of numbers."""
    found = {**file.entries, **{name: file.entries[to] for name, to in tied.items() if to in file.entries}}
    missing, more = [name for name in state if name not in found], [name for name in found if name not in state]
    if missing or more or len(found) < len(file.entries) + len(tied):
        raise ValueError(
            f"it is of another network: it lacks {len(missing)} tensors of this one ({missing[:3]!a:.200}), and has "
            f"{len(more)} others ({more[:3]!a:.200})"
        )
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name!a:.80} of the network is no tensor and was not saved")
        if tuple(value.shape) != found[name].shape:
            raise ValueError(f"tensor {name!r} has shape {found[name].shape}, expected {tuple(value.shape)}")
        if value.is_floating_point() != found[name].dtype.is_floating_point:
            raise ValueError(f"tensor {name!r} is {found[name].dtype}, expected {value.dtype}")


def _fill(net: nn.Module, file: Opened, tied: dict[str, str], *, new: bool) -> None:
    """Load all tensors once all were checked; a network that was given is as before if that fails."""
    held = net.state_dict(keep_vars=True)
    _require_same(held, file, tied)
    for name, value in held.items():
        entry = file.entries[tied.get(name, name)]
        if value.is_meta or nn.parameter.is_lazy(value):
            raise ValueError(f"{name} of the network has no memory yet: call the network once, or net.to_empty()")
        if value.dtype != entry.dtype and not (new and value.is_floating_point()):
            raise ValueError(f"tensor {name!r} is {entry.dtype}, the network's {value.dtype}: convert it with net.to()")
    state = {name: file.tensor(name) for name in file.entries}
    state |= {name: state[to] for name, to in tied.items()}
    first: dict[int, str] = {}
    for name, value in held.items():
        other = first.setdefault(id(value), name)
        if not torch.equal(state[name], state[other]):
            raise ValueError(f"tensors {name!r} and {other!r} are one in the network, but differ in the file")
    before = {} if new else {name: value.detach().clone() for name, value in held.items()}
    try:
        net.load_state_dict(state, assign=new)
    except Exception as error:  # of code of its own
        with torch.no_grad():
            for name, value in before.items():
                held[name].copy_(value)
        raise ValueError(f"the network refused the tensors: {error}") from error
    if new:
        for name, to in tied.items():
            _tie(net, name, to)


def _tie(net: nn.Module, name: str, to: str) -> None:
    """Let a parameter be another one, as it was."""
    (owner, _, last), (other, _, key) = name.rpartition("."), to.rpartition(".")
    setattr(net.get_submodule(owner), last, getattr(net.get_submodule(other), key))
