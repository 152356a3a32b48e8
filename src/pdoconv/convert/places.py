"""How resampling, padding and pooling pass on axes of channels: places change, channels stay."""

from pdoconv.convert.axes import pin
from pdoconv.convert.calls import Call, Dims
from pdoconv.grid import keeps_grid


def maps(call: Call) -> list[Dims]:
    """Resampling and padding: places change, channels stay."""
    x, dims = call.inputs[0], call.before[0].dims
    results: list[Dims] = []
    for t in call.outputs:
        if t.dim() != x.dim():
            return call.unknown()
        for place, one in enumerate(dims):
            if t.shape[place] != x.shape[place]:
                pin(one, f"channels are added in {call.where}")
        results.append([one if t.shape[i] == x.shape[i] else None for i, one in enumerate(dims)])
    return results


def pooled(call: Call) -> list[Dims]:
    """Pooling called as a function cannot be replaced: a stride that breaks quarter turns is noted."""
    size = call.argument("kernel_size")
    stride, padding = call.argument("stride") or size, call.argument("padding", 0)
    sides = call.inputs[0].shape[2:]
    for side, *window in zip(sides, *(_each(value, len(sides)) for value in (size, stride, padding)), strict=True):
        if not keeps_grid(side, *window):
            call.notes[call.where] = f"pools by a stride that breaks quarter turns on side {side}"
    return maps(call)


def _each(value: int | list[int], count: int) -> list[int]:
    return [value] * count if isinstance(value, int) else list(value) * (count // len(value))
