"""What a conversion did: layer by layer, in numbers, and the equivariance error of the result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pdoconv.convert.axes import Widths
from pdoconv.convert.model import Converted
from pdoconv.convert.plan import Plan
from pdoconv.grid import Matrix, is_lattice_symmetry
from pdoconv.measure.error import equivariance_error


@dataclass(frozen=True)
class Row:
    """A layer: its path, the old one, what became of it, channels before and after, and a note."""

    path: str
    before: str
    becomes: str
    channels: str
    note: str = ""


@dataclass
class Report:
    """What a conversion did; `str(report)` is a table.

    Attributes:
        rows: One for each layer.
        group: Name of the group.
        match: What was kept equal.
        parameters: Of the original and of the twin.
        products: Multiply-adds for one image, of the original and of the twin.
        notes: What else is worth knowing, by path.
        shape: Shape of the example.
        errors: Measured equivariance errors by motion; empty until `conversion_report` measures them.
    """

    rows: list[Row]
    group: str
    match: str
    parameters: tuple[int, int]
    products: tuple[int, int]
    notes: dict[str, str]
    shape: tuple[int, ...]
    errors: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the table, the totals, the errors and the notes as lines of text."""
        heads = ("layer", "was", "becomes", "channels")
        table = [heads, *((row.path, row.before, row.becomes, row.channels) for row in self.rows)]
        sizes = [max(len(line[i]) for line in table) for i in range(4)]
        lines = ["  ".join(cell.ljust(size) for cell, size in zip(line, sizes, strict=True)).rstrip() for line in table]
        lines.append(
            f"{self.group}, matched by {self.match}: parameters {self.parameters[0]:,} -> {self.parameters[1]:,}, "
            f"multiply-adds for {tuple(self.shape[1:])} {self.products[0]:,} -> {self.products[1]:,}"
        )
        if self.errors:
            lines.append(
                "relative equivariance error: " + ", ".join(f"{name} {e:.1e}" for name, e in self.errors.items())
            )
        lines += [f"note, {path or 'the network'}: {note}" for path, note in self.notes.items()]
        return "\n".join(lines)


def described(
    model: nn.Module,
    twin: Converted,
    plan: Plan,
    widths: Widths,
    match: str,
    shape: tuple[int, ...],
    override: Mapping[str, object],
) -> Report:
    """Make the report of a conversion that was just done."""
    rows = []
    for step in plan.steps:
        into, out = step.seen.into, step.seen.out
        pairs = [(one.width() * one.inner, one.width(widths) * one.inner) for one in (into, out) if one is not None]
        old, new = ([str(pair[side]) for pair in pairs] for side in (0, 1))
        channels = f"{'>'.join(old)} -> {'>'.join(new)}" if into is not out else f"{old[0]} -> {new[0]}" if old else ""
        rows.append(
            Row(step.path, type(step.seen.module).__name__, step.becomes, channels, plan.notes.get(step.path, ""))
        )
    for path, choice in override.items():
        text = "kept" if choice == "keep" else "replaced by the caller"
        rows.append(Row(path, type(model.get_submodule(path)).__name__, text, ""))
    return Report(
        rows,
        twin.group.name,
        match,
        (_count(model), _count(twin)),
        (sum(step.before for step in plan.steps), sum(step.products(widths) for step in plan.steps)),
        dict(plan.notes),
        shape,
    )


def _count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def conversion_report(twin: Converted, *, measure: bool = True, samples: int = 2) -> Report:
    """Return what `convert` did, layer by layer, with the measured equivariance error of the result.

    Errors are those of `pdoconv.equivariance_error`, in eval mode, of the first output, one for each kind of motion in
    the group: of white noise for quarter turns and reflections, which are exact but for rounding; of smooth images for
    others.

    Args:
        twin: A converted network.
        measure: Measure the errors, which runs the network a few times.
        samples: Number of random images.

    Raises:
        ValueError: If the network is none that `convert` made, or its output has no channels (with `measure`).
    """
    if not isinstance(twin, Converted) or twin.report is None:
        raise ValueError(f"conversion_report: expected a network that convert() made, received {type(twin).__name__}.")
    report: Report = twin.report
    if not measure:
        return report
    if twin.out_type is None:
        raise ValueError("conversion_report: the first output has no channels: measure=False reports without errors.")
    sides, net = report.shape[2:], _First(twin)
    report.errors = {
        name: equivariance_error(
            net, matrix, size=max(sides), samples=samples, in_type=twin.in_type, out_type=twin.out_type
        )
        for name, matrix in _motions(twin).items()
    }
    return report


class _First(nn.Module):
    """The first tensor of an output."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return next(t for t in tree_leaves(self.net(x)) if isinstance(t, Tensor))


def _motions(twin: Converted) -> dict[str, Matrix]:
    """Return one motion of each kind that the group has: exact rotation, exact reflection, one between pixels."""
    found: dict[str, Matrix] = {}
    for number, matrix in enumerate(twin.group.matrices):
        proper = np.linalg.det(matrix) > 0
        if number == 0 or not (proper or is_lattice_symmetry(matrix)):
            continue
        angle = round(math.degrees(math.acos(np.clip((np.trace(matrix) - (twin.group.dim - 2)) / 2, -1, 1))))
        kind = f"{angle} degrees" if proper else "reflection"
        if kind == "180 degrees" and "90 degrees" in found:
            continue
        found.setdefault(kind, matrix)
    return dict(sorted(found.items()))
