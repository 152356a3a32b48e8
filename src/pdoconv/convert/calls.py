"""A tensor operation as it was called, and what is known of the tensors that it reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from pdoconv.convert.axes import Axis, pin

Dims = Sequence[Axis | None]


class Labels(NamedTuple):
    """What is known of a tensor.

    Attributes:
        dims: An axis of channels, or `None` for a fixed number of something, for every dimension.
        lifted: Whether it depends on the group element; the image itself does not.
        pads: What padding just added to it, as the argument of `F.pad`.
    """

    dims: tuple[Axis | None, ...]
    lifted: bool
    pads: tuple[int, ...] = ()


@dataclass
class Call:
    """An operation as it was called, in the module at `where`; the last fields take what is found out."""

    func: Any
    args: Sequence[Any]
    kwargs: dict[str, Any]
    inputs: list[Tensor]
    before: list[Labels]
    outputs: list[Tensor]
    where: str
    notes: dict[str, str]
    refused: dict[str, str]
    multiples: list[tuple[Axis | None, int]]

    @property
    def name(self) -> str:
        """Name of the operation."""
        return str(self.func.overloadpacket.__name__)

    @property
    def why(self) -> str:
        """Reason to keep a width that meets a number of this code's own."""
        return f"a fixed number in {self.where or 'the network'}"

    def argument(self, name: str, default: Any = None) -> Any:
        """Return an argument by its name."""
        for place, declared in enumerate(self.func._schema.arguments):
            if declared.name == name:
                return self.kwargs.get(name, self.args[place] if place < len(self.args) else default)
        return default

    def keep(self, found: Sequence[Axis | None], what: str) -> None:
        """Keep the widths of axes, and say so."""
        for one in found:
            pin(one, f"{what} in {self.where or 'the network'}")
        if any(one is not None for one in found):
            self.notes.setdefault(self.where, f"{what} keeps the number of channels")

    def unknown(self) -> list[Dims]:
        """Keep the widths of everything that is read; nothing is known of the results."""
        self.keep([one for found in self.before for one in found.dims], self.name)
        return [(None,) * t.dim() for t in self.outputs]
