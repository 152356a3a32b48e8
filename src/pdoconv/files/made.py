"""Networks that know how they were made: a function of `pdoconv.models` and its arguments.

A file then holds the name of the function, which is looked up in a table here, and never code.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
Net = TypeVar("Net", bound=nn.Module)

NETWORKS: dict[str, Callable[..., nn.Module]] = {}
"""Functions that make a network, by name; `noted` adds them."""

_NOTE = "_pdoconv_made_by"


def noted(function: Callable[P, Net]) -> Callable[P, Net]:
    """Return a function of `pdoconv.models` that notes on its network what it was asked for, and make it known."""
    name, signature = function.__name__, inspect.signature(function)

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Net:
        net = function(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()  # which may be others in a later version
        given = dict(bound.arguments)
        for key, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(key, {})
        setattr(net, _NOTE, (name, given))
        return net

    return NETWORKS.setdefault(name, made)  # type: ignore[return-value]  # the same function


def note_of(net: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Return name and arguments of the function that made a network, or `None` if none of `NETWORKS` did."""
    note = getattr(net, _NOTE, None)
    return note if note is not None and note[0] in NETWORKS else None
