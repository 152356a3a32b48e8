"""What an architecture may ask for: bases of filters, tables and the like by its arguments, parameters by the file's.

Torch makes a parameter without touching its memory and registers it before it is filled: there `at_most` counts.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from pdoconv.fields import FieldType
from pdoconv.filters import FourierFilters, HarmonicFilters, PDOFilters
from pdoconv.groups import Group
from pdoconv.pointgroups import cyclic
from pdoconv.stencils import BandLimited

MOST_BASIS = 2e6
"""Numbers of a basis of filters, whose layers take up to 20 seconds to make."""
MOST_NUMBERS = 3e7
"""Of tables and the like."""
MOST = {"kernel_size": 31, "rings": 64, "size": 512, "polar_size": 512, "radius": 512, "max_order": 24, "knots": 4096}
MOST_OTHERWISE = 2**20
LONGEST = 256  # list of arguments


def require_sizes(name: str, given: dict[str, Any]) -> None:
    """Raise `ValueError` for arguments that would take much memory or time whatever the parameters are."""
    for key, value in given.items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and abs(number) > MOST.get(key, MOST_OTHERWISE):
                raise ValueError(f"{name}: {key}={number:.6g}, expected at most {MOST.get(key, MOST_OTHERWISE)}")
        if isinstance(value, tuple) and len(value) > LONGEST:
            raise ValueError(f"{name}: {key} has {len(value)} entries, expected at most {LONGEST}")
    if (numbers := _basis(given)) > MOST_BASIS:
        raise ValueError(f"{name}: a basis of {numbers:.1e} numbers, expected at most {MOST_BASIS:.0e}")
    numbers = _pairs(given)
    if {"size", "spacing"} <= set(given):
        side = _number(given["size"]) / max(_number(given["spacing"]), 1e-6) + 16
        numbers += 2 * max(side, 2 * _number(given.get("radius")) + 1) ** 2 * _number(given["size"])
    if "sigma" in given and isinstance(given.get("in_type"), FieldType):
        sigma = _number(given["sigma"]) or 0.5 * _number(given.get("stride"))
        numbers += (6 * sigma + 3) ** given["in_type"].group.dim
    if numbers > MOST_NUMBERS:
        raise ValueError(f"{name}: tables of {numbers:.1e} numbers, expected at most {MOST_NUMBERS:.0e}")


def _number(value: Any) -> float:
    return abs(float(value)) if isinstance(value, int | float) else 0.0


def _family(given: dict[str, Any], taps: int, group: Group) -> float:
    """Return an upper bound of the filters of a family."""
    family = given.get("filters")
    if isinstance(family, HarmonicFilters):
        return float(sum(2 * k + 1 for k in family.frequencies)) if family.frequencies else taps
    if not isinstance(family, PDOFilters):
        return taps
    order = max(operator.order for operator in family.operators)
    monomials = math.comb(min(order, 1000) + group.dim, group.dim)
    if monomials**2 * group.order > MOST_NUMBERS:
        raise ValueError(f"operators of order {order} have too many monomials")
    if isinstance(family.stencils, BandLimited) and taps > 200:
        raise ValueError(f"stencils designed for {taps} taps, expected at most 200")
    return max(len(family.operators), monomials)


def _basis(given: dict[str, Any]) -> float:
    """Return the numbers of a basis of filters, `(|G|, filters, *kernel)`."""
    if "filters" not in given and "kernel_size" not in given:
        return 0.0
    kind = given.get("in_type")
    group = kind.group if isinstance(kind, FieldType) else given.get("group")
    known = group if isinstance(group, Group) else cyclic(16)
    taps = int(max(_number(size) for size in _all(given.get("kernel_size", 5))) or 5) ** known.dim
    turns = 32 if isinstance(given.get("filters"), FourierFilters) else 1  # which it weighs its filters by
    return float(max(known.order, turns) * _family(given, taps, known) * taps)


def _all(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) and value else (value,)


def _pairs(given: dict[str, Any]) -> float:
    """Return about how many numbers the equivariant kernels between all kinds of fields have."""
    into, out = given.get("in_type"), given.get("out_type")
    if not isinstance(into, FieldType) or not isinstance(out, FieldType):
        return 0.0
    taps = int(_number(given.get("kernel_size")) or 1) ** into.group.dim
    filters, total = _family(given, taps, into.group), 0.0
    for a, _ in out.blocks:
        for b, _ in into.blocks:
            if not {a.name, b.name} <= {"regular", "trivial"}:
                total += (a.dim * b.dim) ** 2 * filters * taps / into.group.order
    if any(kind.name not in ("regular", "trivial") for kind, _ in out.blocks):
        total += out.channels * out.fields
    return total


@contextmanager
def at_most(tensors: int, numbers: int) -> Iterator[None]:
    """Refuse modules, in this thread, that register many more parameters or modules than a file has.

    Raises:
        ValueError: At the first that is too much, before it is filled.
    """
    own, counts = get_ident(), {"tensors": 0, "numbers": 0, "modules": 0}
    most = {"tensors": 8 * tensors + 64, "numbers": 8 * numbers + 2**24, "modules": 64 * tensors + 1024}

    def add(**more: int) -> None:
        for what, count in more.items():
            counts[what] += count
            if counts[what] > most[what]:
                raise ValueError(f"its architecture has more {what} than the file: above {most[what]}")

    def tensor(module: nn.Module, name: str, value: Tensor | None) -> None:
        if get_ident() == own and value is not None:
            add(tensors=1, numbers=value.numel())

    def module(module: nn.Module, name: str, value: nn.Module | None) -> None:
        if get_ident() == own:
            add(modules=1)

    hooks = [
        register_module_parameter_registration_hook(tensor),
        register_module_buffer_registration_hook(tensor),
        register_module_module_registration_hook(module),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
