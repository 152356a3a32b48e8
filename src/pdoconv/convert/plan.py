"""What becomes of a network: decided for all widths at once, so that parameters are counted before they are made."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from pdoconv import operators
from pdoconv.convert.axes import Axis
from pdoconv.convert.layers import Planner
from pdoconv.convert.steps import FamilyOf, Step
from pdoconv.convert.trace import Conv, Trace
from pdoconv.filters import Filters, default, pdo, pointwise
from pdoconv.groups import Group
from pdoconv.stencils import gaussian


@dataclass
class Plan:
    """What becomes of a network.

    Attributes:
        group: The group.
        steps: One for each layer, in the order in which they were met.
        tensors: Parameters and buffers of other code, whose sizes follow the widths.
        refused: What cannot be converted, by path.
        notes: What else is worth knowing, by path.
    """

    group: Group
    steps: list[Step]
    tensors: Mapping[str, tuple[Axis | None, ...]]
    refused: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)


def filters_for(dim: int, size: int) -> Filters:
    """Return the filters of a kernel: `pdoconv.filters.default`, with wider Gaussians where the kernel is large."""
    if size == 1:
        return pointwise()
    if size > 5 and dim == 2:
        return pdo(stencils=gaussian(size / 5))
    if size > 5:
        return pdo(operators.rotation_adapted(2 if dim == 3 else 4, dim), gaussian(size / 5))
    return default(dim, size)


def planned(trace: Trace, group: Group, family: FamilyOf, *, symmetric: bool, mixed_output: bool) -> Plan:
    """Decide what becomes of every layer that was met.

    Args:
        trace: The run.
        group: The group.
        family: Filters by dimension and side of the kernel.
        symmetric: Replace strides that break quarter turns by halving about the centre.
        mixed_output: Whether the last layer joins the entries of a stack too.
    """
    plan = Plan(group, [], trace.tensors, dict(trace.refused), dict(trace.notes))
    last = {id(atom) for found in trace.outputs for one in found.dims if one is not None for atom in one.leaves()}
    products = [seen for seen in trace.layers.values() if isinstance(seen.module, Conv | nn.Linear)]
    last -= {id(atom) for seen in products if seen.into is not None for atom in seen.into.leaves()}
    for path, seen in trace.layers.items():
        final = not mixed_output and seen.out is not None and all(id(atom) in last for atom in seen.out.leaves())
        try:
            plan.steps.append(Planner(path, seen, group, family, symmetric, final, plan.notes).step())
        except ValueError as error:
            plan.refused[path] = str(error)
    return plan
