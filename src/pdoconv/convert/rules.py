"""How tensor operations pass on axes of channels: for torch's basic operations, to which all code comes down.

Elementwise operations unite the axes that meet, views and permutations move them, concatenation lines them up. An
operation of which nothing is known keeps the widths of what it reads: that is always right, only less free.
"""

import math
from collections.abc import Callable

from torch import Tensor

from pdoconv.convert.axes import Axis, axis, pieces, pin, unify
from pdoconv.convert.calls import Call, Dims, Labels
from pdoconv.convert.places import maps, pooled

NUMBER = "a number of groups"  # why an axis is kept that counts heads or groups of channels


def follow(call: Call) -> list[Labels]:
    """Return what is known of the results of an operation."""
    lifted = any(found.lifted for found in call.before)
    pads = tuple(call.args[1]) if call.name == "constant_pad_nd" else ()
    dims = RULES.get(call.name, _pointwise)(call)
    return [Labels(tuple(found), lifted, pads) for found in dims]


def _pointwise(call: Call) -> list[Dims]:
    """Broadcast, reduce or keep: dimensions of the same size, aligned from the right, are the same axis."""
    gone = _reduced(call)
    ones = set() if call.name in ("index_select", "gather") else gone or set()  # reduced, with `keepdim`
    results: list[Dims] = []
    for out in call.outputs:
        if out.dim() == 0:
            results.append([])
            continue
        if gone is not None and out.dim() < call.inputs[0].dim():
            left = [one for place, one in enumerate(call.before[0].dims) if place not in gone]
            if len(left) != out.dim():
                return call.unknown()
            results.append(left)
            continue
        if any(t.dim() > out.dim() for t in call.inputs):
            return call.unknown()
        merged: list[Axis | None] = [None] * out.dim()
        for place in range(-out.dim(), 0):
            sized = [(t.shape[place], found.dims[place]) for t, found in _with(call, place)]
            for n, one in sized:
                if n not in (1, out.shape[place]) and not (place % out.dim() in ones and out.shape[place] == 1):
                    pin(one, f"{call.name} in {call.where}")
            meet = [one for n, one in sized if n == out.shape[place] > 1]
            for one in meet[1:]:
                meet[0] = unify(meet[0], one, call.why)
            merged[place] = meet[0] if meet else None
        results.append(merged)
    return results


def _with(call: Call, place: int) -> list[tuple[Tensor, Labels]]:
    """Return the inputs that have a dimension, counted from the right."""
    return [(t, found) for t, found in zip(call.inputs, call.before, strict=True) if t.dim() >= -place]


def _reduced(call: Call) -> set[int] | None:
    """Return the dimensions that a reduction runs over."""
    names = {declared.name for declared in call.func._schema.arguments} & {"dim", "dims"}
    if not names:
        return None
    value, n = call.argument(names.pop()), call.inputs[0].dim()
    if value is None or value == []:
        return set(range(n))
    return {d % n for d in (value if isinstance(value, list | tuple) else [value])}


def _view(call: Call) -> list[Dims]:
    """Follow dimensions through a view: runs of old ones that become runs of new ones of the same product."""
    x, out, dims = call.inputs[0], call.outputs[0], call.before[0].dims
    result: list[Axis | None] = [None] * out.dim()
    old = [i for i in range(x.dim()) if x.shape[i] > 1]
    new = [i for i in range(out.dim()) if out.shape[i] > 1]
    while old and new:
        a, b = [old.pop(0)], [new.pop(0)]
        while math.prod(x.shape[i] for i in a) != math.prod(out.shape[i] for i in b):
            short = math.prod(x.shape[i] for i in a) < math.prod(out.shape[i] for i in b)
            (a if short else b).append((old if short else new).pop(0))
        found = _run([dims[i] for i in a], [x.shape[i] for i in a], [out.shape[i] for i in b])
        if found is None:
            call.keep([dims[i] for i in a], "a view with numbers of its own")
        else:
            for i, one in zip(b, found, strict=True):
                result[i] = one
    return [result]


def _run(dims: list[Axis | None], old: list[int], new: list[int]) -> list[Axis | None] | None:
    """Return the axes of some new dimensions that were some old ones; `None` if that cannot be said."""
    first, counts = dims[0], [one for one in dims if _is_count(one)]
    if all(one is None for one in dims):
        return [None] * len(new)
    if len(old) == len(new) == 1:
        return [first]
    if len(old) == 2 and len(new) == 1 and len(counts) == 1 and None not in dims:  # heads or groups put together
        place = dims.index(counts[0])
        other = dims[1 - place]
        return [Axis(other.atoms * old[place])] if other is not None and other.inner == 1 else None
    if len(new) == 1 and first is not None and first.inner == 1 and all(one is None for one in dims[1:]):
        return [Axis(first.atoms, math.prod(old[1:]), tuple(old[1:]))]  # maps flattened
    if len(old) == 1 and first is not None and first.inner > 1:
        same = new == [first.width(), *first.space]
        return [Axis(first.atoms), *[None] * len(first.space)] if same else None
    if len(old) == 1 and len(new) == 2 and first is not None:  # heads or groups taken apart
        each = pieces(first, [new[1]] * new[0])
        for piece in each[1:]:
            unify(each[0], piece, NUMBER)
        return [axis(new[0], NUMBER), each[0]]
    return None


def _is_count(one: Axis | None) -> bool:
    return one is not None and all(atom.pinned == NUMBER for atom in one.leaves())


def _permute(call: Call) -> list[Dims]:
    dims, n = call.before[0].dims, call.inputs[0].dim()
    order = list(range(n))
    if call.name == "permute":
        order = [d % n for d in call.args[1]]
    elif n > 1:
        a, b = (0, 1) if call.name == "t" else (call.args[1] % n, call.args[2] % n)
        order[a], order[b] = b, a
    return [[dims[i] for i in order]]


def _unsqueeze(call: Call) -> list[Dims]:
    dims = list(call.before[0].dims)
    dims.insert(call.args[1] % call.outputs[0].dim(), None)
    return [dims]


def _squeeze(call: Call) -> list[Dims]:
    x, n = call.inputs[0], call.inputs[0].dim()
    chosen = range(n) if len(call.args) < 2 else [call.args[1]] if isinstance(call.args[1], int) else call.args[1]
    gone = {d % n for d in chosen if x.shape[d] == 1}
    return [[one for place, one in enumerate(call.before[0].dims) if place not in gone]]


def _select(call: Call) -> list[Dims]:
    dims = list(call.before[0].dims)
    pin(dims.pop(call.argument("dim", 0) % len(dims)), f"a channel by its number in {call.where}")
    return [dims for _ in call.outputs]


def _slice(call: Call) -> list[Dims]:
    dims, x = list(call.before[0].dims), call.inputs[0]
    place = call.argument("dim", 0) % len(dims)
    one, count, length = dims[place], x.shape[place], call.outputs[0].shape[place]
    if length == count or one is None:
        return [dims]
    start = (call.argument("start") or 0) % count
    if one.inner == 1 and start in (0, count - length) and call.argument("step", 1) == 1:
        dims[place] = pieces(one, [length, count - length] if start == 0 else [start, length])[0 if start == 0 else 1]
    else:
        pin(one, f"channels by their numbers in {call.where}")
        dims[place] = None
    return [dims]


def _split(call: Call) -> list[Dims]:
    dims = call.before[0].dims
    place = call.argument("dim", 0) % len(dims)
    one, sizes = dims[place], [t.shape[place] for t in call.outputs]
    if one is None or one.inner > 1:
        pin(one, f"split in {call.where}")
        cut: list[Axis | None] = [None] * len(sizes)
    else:
        cut = [*pieces(one, sizes)]
    return [[*dims[:place], piece, *dims[place + 1 :]] for piece in cut]


def _shuffled(call: Call) -> list[Dims]:
    """`nn.ChannelShuffle`: groups of channels taken apart, and put together the other way round."""
    dims = list(call.before[0].dims)
    found = dims[1]
    if found is None or found.inner > 1:
        return call.unknown()
    count = call.argument("groups")
    each = pieces(found, [call.inputs[0].shape[1] // count] * count)
    for piece in each[1:]:
        unify(each[0], piece, NUMBER)
    dims[1] = Axis(each[0].atoms * count)
    return [dims]


def _cat(call: Call) -> list[Dims]:
    n = call.outputs[0].dim()
    place = call.argument("dim", 0) % n
    parts = [(t, f.dims) for t, f in zip(call.inputs, call.before, strict=True) if t.dim() == n]
    dims = list(parts[0][1])
    for other in set(range(n)) - {place}:
        for _, found in parts[1:]:
            dims[other] = unify(dims[other], found[other], call.why)
    along = [(t.shape[place], found[place]) for t, found in parts]
    dims[place] = None
    if any(one is not None and one.inner > 1 for _, one in along):
        call.keep([one for _, one in along], "cat of flattened maps")
    elif any(one is not None for _, one in along):
        whole = [axis(n, call.why) if one is None else one for n, one in along]
        dims[place] = Axis(tuple(atom for one in whole for atom in one.atoms))
    return [dims]


def _stack(call: Call) -> list[Dims]:
    dims = list(call.before[0].dims)
    for found in call.before[1:]:
        dims = [unify(a, b, call.why) for a, b in zip(dims, found.dims, strict=True)]
    dims.insert(call.argument("dim", 0) % call.outputs[0].dim(), None)
    return [dims]


def _product(call: Call) -> list[Dims]:
    """Matrix products: the inner dimensions are one axis, the outer ones stay."""
    (a, b), rest = call.before[-2:], call.before[:-2]
    if call.name == "linear":
        a, b, rest = call.before[0], Labels(call.before[1].dims[::-1], call.before[1].lifted), call.before[2:]
    unify(a.dims[-1], b.dims[-2], call.why)
    dims = [*a.dims[:-1], b.dims[-1]]
    for found in rest:
        if found.dims:
            dims[-1] = unify(dims[-1], found.dims[-1], call.why)
    return [dims]


def _normalised(call: Call) -> list[Dims]:
    """Normalisation called as a function: weights belong to the channels."""
    dims = list(call.before[0].dims)
    if "group" in call.name:
        call.multiples.append((dims[1], call.args[6]))
    for found in call.before[1:]:
        if len(found.dims) == 1:
            place = -1 if "layer" in call.name else 1
            dims[place] = unify(dims[place], found.dims[0], call.why)
    return [dims, *[(None,) * t.dim() for t in call.outputs[1:]]]


def _convolution(call: Call) -> list[Dims]:
    """A convolution that is no layer cannot be replaced."""
    call.refused[call.where] = "calls a convolution as a function, with weights that are no layer of torch"
    return call.unknown()


def _attention(call: Call) -> list[Dims]:
    unify(call.before[0].dims[-1], call.before[1].dims[-1], call.why)
    dims = [*call.before[0].dims[:-1], call.before[2].dims[-1]]
    return [dims, *[(None,) * t.dim() for t in call.outputs[1:]]]


NAMES: dict[Callable[[Call], list[Dims]], str] = {
    _view: "view _unsafe_view reshape _reshape_alias flatten unflatten",
    _permute: "permute transpose t",
    _unsqueeze: "unsqueeze",
    _squeeze: "squeeze",
    _select: "select unbind",
    _slice: "slice",
    _split: "split split_with_sizes split_with_sizes_copy chunk",
    _cat: "cat",
    _shuffled: "channel_shuffle native_channel_shuffle",
    _stack: "stack",
    _product: "mm bmm addmm baddbmm linear",
    _normalised: """native_layer_norm native_group_norm native_batch_norm batch_norm cudnn_batch_norm
        _batch_norm_no_update _native_batch_norm_legit_no_training _native_batch_norm_legit""",
    _convolution: "convolution _convolution mkldnn_convolution conv1d conv2d conv3d",
    _attention: """_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_attention_math
        _scaled_dot_product_flash_attention _scaled_dot_product_efficient_attention""",
    pooled: """max_pool2d_with_indices max_pool3d_with_indices max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d
        avg_pool3d""",
    maps: """adaptive_avg_pool1d _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d
        upsample_nearest1d upsample_nearest2d upsample_nearest3d _upsample_nearest_exact2d _upsample_nearest_exact3d
        upsample_linear1d upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa
        grid_sampler_2d grid_sampler_3d roll flip constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d
        replication_pad1d replication_pad2d replication_pad3d""",
}
"""Operations by their rules; all others are elementwise."""

RULES = {name: rule for rule, names in NAMES.items() for name in names.split()}
