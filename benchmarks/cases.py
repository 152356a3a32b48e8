"""Which layers are timed, with which batch, and beside which plain layers."""

import math
from dataclasses import dataclass, replace

import pdoconv as pdo

RATE = 200e9  # floating-point operations a second that a convolution is assumed to make
STEP_SECONDS = 1.5
LARGEST_BATCH = 16

CENTRES = {"C8": 32, "C16": 16, "D8": 16, "C4": 16, "D4": 16}  # group -> fields
GOALS = ("C8", "C16", "D8")  # groups whose centre is a case that the layers are built for
LINES: dict[str, tuple[int | str, ...]] = {
    "fields": (8, 16, 32, 64),
    "pixels": (14, 32, 64, 128),
    "kernel": (1, 3, 5, 7),
    "layout": ("contiguous_format", "channels_last"),
}


@dataclass(frozen=True)
class Case:
    """A layer between regular fields in the plane, and the maps it is given."""

    group: str
    fields: int
    pixels: int = 32
    kernel: int = 5
    layout: str = "contiguous_format"

    @property
    def channels(self) -> int:
        """Channels of input and output."""
        return self.fields * int(pdo.group(self.group).order)

    @property
    def goal(self) -> bool:
        """Whether this is one of the cases that the layers are built for."""
        return self in [Case(name, CENTRES[name]) for name in GOALS]

    @property
    def step_flops(self) -> int:
        """Operations of a plain layer of the same channels, forward and back, for one image."""
        return 3 * 2 * (self.channels * self.kernel * self.pixels) ** 2

    def batch(self, seconds: float = STEP_SECONDS) -> int:
        """Return the largest batch, 1 to 16, with which a step of that plain layer is assumed to take no longer."""
        return max(1, min(LARGEST_BATCH, int(seconds * RATE / self.step_flops)))

    def __str__(self) -> str:
        """Name the case."""
        end = ", channels last" if self.layout == "channels_last" else ""
        return f"{self.group}, {self.fields} fields, {self.pixels} px, {self.kernel}x{self.kernel}{end}"


def grid() -> list[Case]:
    """Return the centre of every group, then lines through each centre along every axis; no case twice."""
    centres = [Case(name, fields) for name, fields in CENTRES.items()]
    lines = [replace(c, **{axis: value}) for c in centres for axis, values in LINES.items() for value in values]
    return list(dict.fromkeys(centres + lines))


def line(cases: list[Case], axis: str, group: str) -> list[Case]:
    """Return those of the cases that lie on a group's line along an axis, in order."""
    centre = Case(group, CENTRES[group])
    return [c for c in (replace(centre, **{axis: value}) for value in LINES[axis]) if c in cases]


def narrow_channels(parameters: int, kernel: int) -> int:
    """Return c for which a plain layer of c -> c channels with bias has most nearly that many parameters."""
    area = kernel**2
    root = (math.sqrt(1 + 4 * area * parameters) - 1) / (2 * area)  # c^2 k^2 + c = parameters
    near = {max(1, math.floor(root)), max(1, math.ceil(root))}
    return min(near, key=lambda c: abs(c * c * area + c - parameters))
