"""Arguments of layers and networks as JSON: numbers, groups, field types, filter families. Names come from tables here.

A group is its name, or its matrices where no name means it; a kind of field its name, or its table. A filter family or
a numerical scheme is the name of its class and the values in it. Lists are read as tuples.
"""

import math
import re
from collections.abc import Callable
from dataclasses import fields as fields_of
from typing import Any

import numpy as np
from torch import Tensor

from pdoconv import filters, stencils
from pdoconv.fields import FieldType
from pdoconv.groups import Group
from pdoconv.operators import Operator
from pdoconv.pointgroups import group as group_of
from pdoconv.representations import Representation, irrep, regular, trivial, vector

CLASSES: dict[str, Callable[..., Any]] = {
    kind.__name__: kind
    for kind in (
        filters.PDOFilters,
        filters.PointwiseFilters,
        filters.RotatedFilters,
        filters.InterpolatedFilters,
        filters.HexagonalFilters,
        filters.HarmonicFilters,
        filters.FourierFilters,
        stencils.FiniteDifference,
        stencils.Isotropic,
        stencils.Gaussian,
        stencils.BandLimited,
    )
}
"""Values that are made anew from their fields."""

KINDS: dict[str, Callable[[Group], Representation]] = {"trivial": trivial, "regular": regular, "vector": vector}
MOST_ORDER = 128  # elements of a group: a layer of as many takes seconds to make
MOST_CHANNELS = 16384  # of a field type
MOST_DIM = 256  # channels of one field
MOST_TERMS = 512  # of an operator; entries of a list of blocks
MOST = 2**20  # of any number
SHORT = 64  # entries of a tensor that is an argument


class OwnCodeError(ValueError):
    """Something that only the code of its author can make."""


def described(value: Any) -> Any:
    """Return a value as JSON; `OwnCodeError` for one that no table here can make."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [described(part) for part in value]
    if isinstance(value, np.ndarray) and value.dtype == np.bool_:
        return value.tolist()
    if isinstance(value, Tensor) and value.dim() == 1 and value.numel() <= SHORT:
        return value.tolist()
    if isinstance(value, Group):
        return {"is": "Group", **_group(value)}
    if isinstance(value, FieldType):
        blocks = [[_kind(kind), count] for kind, count in value.blocks]
        return {"is": "FieldType", "group": _group(value.group), "blocks": blocks}
    if isinstance(value, Operator):
        return {"is": "Operator", "terms": [[list(e), c] for e, c in value.terms]}
    name = type(value).__name__
    if CLASSES.get(name) is type(value):
        return {"is": name, **{field.name: described(getattr(value, field.name)) for field in fields_of(value)}}
    raise OwnCodeError(f"{value!r} is no number, text, group, field type or filter family of this package")


def rebuilt(found: Any) -> Any:
    """Return the value of a description; `ValueError` for what no description says, and for sizes that none has."""
    if isinstance(found, list):
        return tuple(rebuilt(part) for part in found)
    if not isinstance(found, dict):
        if isinstance(found, int | float) and abs(found) > MOST:
            raise ValueError(f"the number {found:.3g} is above {MOST}")
        return found
    name, given = found.get("is"), {key: value for key, value in found.items() if key != "is"}
    if name == "Group":
        return _group_of(given)
    if name == "FieldType":
        return _type_of(given)
    if name == "Operator":
        return _operator_of(given)
    if not isinstance(name, str) or name not in CLASSES:
        raise ValueError(f"expected one of Group, FieldType, Operator, {', '.join(CLASSES)}, received {name!r}")
    return CLASSES[name](**{key: rebuilt(value) for key, value in given.items()})


def _group(group: Group) -> dict[str, Any]:
    try:
        if group_of(group.name, group.dim) == group:
            return {"name": group.name, "dim": group.dim}
    except ValueError:
        pass
    return {"name": group.name, "matrices": group.matrices.tolist(), "continuous": group.continuous}


def require_group_name(name: Any) -> str:
    """Return the name; `ValueError` for what is none of a group, and for a group with too many elements to make."""
    if not isinstance(name, str) or len(name) > 40:
        raise ValueError(f"expected the name of a group, received {name!a:.80}")
    if any(int(digits) > MOST_ORDER for digits in re.findall(r"\d+", name)):
        raise ValueError(f"a group {name!a}: expected numbers up to {MOST_ORDER}")
    return name


def _group_of(found: Any) -> Group:
    if not isinstance(found, dict):
        raise ValueError(f"expected a group as an object, received {found!a:.80}")
    name = require_group_name(found.get("name"))
    if set(found) == {"name", "dim"}:
        named = group_of(name, rebuilt(found["dim"]))
        if named.order > MOST_ORDER:
            raise ValueError(f"a group of {named.order} elements, expected at most {MOST_ORDER}")
        return named
    if set(found) != {"name", "matrices", "continuous"} or not isinstance(found["continuous"], bool):
        raise ValueError(
            f"expected name and dim, or name, matrices and continuous of a group, received {[*found]!a:.80}"
        )
    matrices = _numbers(found["matrices"])
    if matrices.ndim != 3 or len(matrices) > MOST_ORDER or matrices.shape[1] > 3:
        raise ValueError(f"expected at most {MOST_ORDER} matrices of dimension up to 3, received {matrices.shape}")
    return Group(name, matrices, found["continuous"])


def _kind(kind: Representation) -> Any:
    if kind.name in KINDS and KINDS[kind.name](kind.group) == kind:
        return kind.name
    usual = re.fullmatch(r"irrep\((\d+)(, pseudo)?\)", kind.name)
    if usual:
        k, pseudo = int(usual[1]), usual[2] is not None
        try:
            if irrep(kind.group, k, pseudo) == kind:
                return {"irrep": k, "pseudo": pseudo}
        except ValueError:
            pass
    return {"name": kind.name, "table": kind.table.tolist()}


def _type_of(found: dict[str, Any]) -> FieldType:
    _require_keys(found, {"group", "blocks"})
    group, blocks = _group_of(found["group"]), found["blocks"]
    if not isinstance(blocks, list) or len(blocks) > MOST_TERMS or not all(_is_pair(block) for block in blocks):
        raise ValueError(
            f"expected at most {MOST_TERMS} pairs of a kind of field and a number, received {blocks!a:.80}"
        )
    whole = FieldType(group, tuple((_kind_of(kind, group), rebuilt(count)) for kind, count in blocks))
    if whole.channels > MOST_CHANNELS:
        raise ValueError(f"{whole} has {whole.channels} channels, expected at most {MOST_CHANNELS}")
    return whole


def _kind_of(found: Any, group: Group) -> Representation:
    if isinstance(found, str) and found in KINDS:
        return KINDS[found](group)
    if isinstance(found, dict) and set(found) == {"irrep", "pseudo"}:
        return irrep(group, rebuilt(found["irrep"]), bool(found["pseudo"]))
    if isinstance(found, dict) and set(found) == {"name", "table"} and isinstance(found["name"], str):
        table = _numbers(found["table"])
        if table.ndim in (2, 3) and len(table) == group.order and table.shape[1] <= MOST_DIM:
            whole = table.ndim == 2 and np.isin(table, np.arange(table.shape[1])).all()
            return Representation(group, found["name"], table.astype(np.int64) if whole else table)
    raise ValueError(
        f"expected a kind of field, one of {', '.join(KINDS)}, an irrep or a table, received {found!a:.80}"
    )


def _operator_of(found: dict[str, Any]) -> Operator:
    _require_keys(found, {"terms"})
    terms = rebuilt(found["terms"])
    if not isinstance(terms, tuple) or len(terms) > MOST_TERMS or not all(_is_pair(list(term)) for term in terms):
        raise ValueError(f"expected at most {MOST_TERMS} terms of an operator, received {terms!a:.80}")
    if any(not isinstance(e, tuple) or not e or any(type(i) is not int for i in e) for e, _ in terms):
        raise ValueError(f"expected exponents as whole numbers, received {terms!a:.80}")
    return Operator({e: float(c) for e, c in terms})


def _numbers(found: Any) -> np.ndarray:
    """Return nested lists of numbers as an array."""
    array = np.array(found)
    if array.dtype.kind not in "if" or array.size > MOST or not np.isfinite(array).all():
        raise ValueError(f"expected at most {MOST} finite numbers in rows of equal length, received {found!a:.80}")
    return array


def _is_pair(found: Any) -> bool:
    return isinstance(found, list) and len(found) == 2


def _require_keys(found: dict[str, Any], expected: set[str]) -> None:
    if set(found) != expected:
        raise ValueError(f"expected {sorted(expected)}, received {sorted(found)}")
