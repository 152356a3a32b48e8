"""Turn an ordinary convolutional network into its equivariant twin.

The original's own code runs on stacks of maps (`pdoconv.nn.stacked`), with new layers of new widths in the places of
the old ones. `docs/design/009-convert.md` says how and why.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from pdoconv.convert.axes import Atom, Widths
from pdoconv.convert.build import Override, build, size
from pdoconv.convert.law import broken
from pdoconv.convert.model import Converted as Converted
from pdoconv.convert.model import Output, loose, out_type
from pdoconv.convert.plain import plain_weights
from pdoconv.convert.plan import Plan, filters_for, planned
from pdoconv.convert.report import Report as Report
from pdoconv.convert.report import conversion_report as conversion_report
from pdoconv.convert.report import described
from pdoconv.convert.steps import FamilyOf
from pdoconv.convert.trace import Tracer
from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.groups import Group
from pdoconv.measure.error import eval_mode
from pdoconv.pointgroups import group as named_group

Match = Literal["parameters", "compute", "width"]
ENOUGH = 0.02  # widths that match this well are taken without spreading
FAR = 0.2  # parameters that match no better are worth a note


class ConversionError(ValueError):
    """A network that cannot be converted, with what stands in the way by path."""


def convert(
    model: nn.Module,
    group: str | Group,
    *,
    example: Tensor,
    match: Match = "parameters",
    output: Output = "invariant",
    filters: Filters | FamilyOf | None = None,
    strides: Literal["symmetric", "kept"] = "symmetric",
    override: Mapping[str, Override] | None = None,
) -> Converted:
    """Return the equivariant twin of an ordinary network, freshly initialised; the network itself stays as it is.

    The example runs through the network once, and its channels are followed. Convolutions (also strided, dilated,
    grouped, depthwise and transposed) and linear layers become group convolutions; normalisation, pooling and whatever
    the network's own `forward` does with channels stays. `conversion_report` says what happened.

    Args:
        model: Any module of torch's layers, with any code in its `forward`.
        group: Such as `"p8"` or `"D4"`; for volumes `"O"` or `"Oh"`. See `pdoconv.group`.
        example: An input `(batch, channels, *space)` of the usual size; one image of it is used.
        match: Widths such that the twin has as many `"parameters"` as the original, or as many multiply-adds for the
            example (`"compute"`); `"width"`: the same widths, for networks whose code writes numbers of channels.
        output: `"invariant"`: outputs `(batch, channels, ...)` are means over the group: class scores that no element
            changes, and maps that turn with the image; `"vector"`: channels are components x, y[, z] of vectors that
            turn too; `"regular"`: features on the group, `channels * |G|` channels; or a field type of these channels.
        filters: A filter family for all kernels, or a function of dimension and kernel size; default PDO filters.
        strides: `"symmetric"`: strides that look at every s-th pixel beginning with the first, which breaks quarter
            turns on even sides, become halving about the centre; `"kept"`: they stay, exact by the grid rule only.
        override: What to do with modules that cannot be converted, by path: another module, which gets stacks
            `(batch * |G|, channels, *space)` and keeps the widths before and behind it; a function that makes it of the
            old one; or `"keep"`, at the price of the symmetry if it mixes places.

    Raises:
        ConversionError: If the network does not run on the example, or something in it has no equivariant twin: the
            message names every such place and why.
        ValueError: If an argument is out of range.

    >>> plain = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 4, 1))
    >>> twin = convert(plain, "p4", example=torch.zeros(1, 3, 9, 9))
    >>> twin(torch.rand(2, 3, 9, 9)).shape
    torch.Size([2, 4, 9, 9])
    """
    over = {} if override is None else override
    dim = _check(model, example, match, output, strides, over)
    if not isinstance(group, str | Group):
        raise ValueError(f"convert: expected a group or its name such as 'p8', received {group!r}.")
    if not (filters is None or isinstance(filters, Filters) or callable(filters)):
        raise ValueError(f"convert: expected filters or a function that gives them, received {filters!r}.")
    elements = named_group(group, dim) if isinstance(group, str) else group
    if elements.dim != dim or elements.continuous:
        raise ValueError(
            f"convert: expected a finite group in {dim} dimensions, as the example has, received {elements!r}: 'p8' or "
            f"'D4' for images, 'O' or 'Oh' for volumes."
        )
    lazy = [path for path, p in model.named_parameters() if is_lazy(p)]
    if lazy:
        raise ConversionError(f"convert: {lazy[0]} has no size yet: run the network on an example first.")
    try:
        net = copy.deepcopy(model, loose(model))
    except Exception as error:  # whatever copying raises
        raise ConversionError(f"convert: the network cannot be copied: {error}") from error
    notes = plain_weights(net)
    example = example[:1].detach().clone()
    tracer = Tracer(net, over)
    try:
        trace = tracer.run((example,))
    except Exception as error:  # whatever the network's own code raises
        raise ConversionError(
            f"convert: the network does not run on the example of shape {tuple(example.shape)}: {error}"
        ) from error
    if filters is None:
        family: FamilyOf = filters_for
    elif isinstance(filters, Filters):
        family = lambda dim, size: filters_for(dim, 1) if size == 1 else filters  # noqa: E731
    else:
        family = filters
    trace.notes.update(notes)
    plan = planned(trace, elements, family, symmetric=strides == "symmetric", mixed_output=output == "regular")
    if plan.refused:
        raise ConversionError(
            "convert: these parts have no equivariant twin. Change them, or say by override={path: module} or "
            "{path: 'keep'}:\n" + "\n".join(f"  {path or 'the network'}: {why}" for path, why in plan.refused.items())
        )
    widths = _widths(plan, net, match)
    twin = Converted(net, elements, example.shape[1], output)
    build(twin, plan, widths, over)
    twin.folds = trace.folds
    twin.example_side = example.shape[-1] if len(set(example.shape[2:])) == 1 else None
    with warnings.catch_warnings():  # what breaks the symmetry on these sides is told in the report
        warnings.filterwarnings("ignore", message=".*breaks the exact symmetry")
        return _judged(model, twin, plan, widths, match, example, over)


def _judged(
    model: nn.Module,
    twin: Converted,
    plan: Plan,
    widths: Widths,
    match: Match,
    example: Tensor,
    over: Mapping[str, Override],
) -> Converted:
    """Run and measure a new twin; return it with its report."""
    first = _try(model, twin, example)
    if len(first) not in (0, 1, 2, example.dim()):
        plan.notes[""] = (
            f"the first output, {first}, is neither numbers nor maps: its measured error takes axis 1 for channels"
        )
    place = broken(twin, tuple(example.shape))
    if place is not None and "quarter turns" not in plan.notes.get(place[0], ""):
        plan.notes[place[0]] = "; ".join(filter(None, (plan.notes.get(place[0]), place[1])))
    parameters = [sum(p.numel() for p in part.parameters()) for part in (model, twin)]
    if match == "parameters" and abs(parameters[1] - parameters[0]) > FAR * parameters[0]:
        text = f"{parameters[0]:,} parameters became {parameters[1]:,}, for widths are kept: {_kept(plan)}"
        plan.notes[""] = "; ".join(filter(None, (plan.notes.get(""), text)))
    twin.report = described(model, twin, plan, widths, match, tuple(example.shape), over)
    return twin


def _check(
    model: nn.Module, example: Tensor, match: str, output: object, strides: str, override: Mapping[str, object]
) -> int:
    """Raise `ValueError` for arguments out of range; return the dimension of space."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"convert: expected a torch module, received {model!r}.")
    if isinstance(model, Converted):
        raise ValueError("convert: the network is a converted one already: expected the ordinary network.")
    if not isinstance(example, Tensor) or example.dim() not in (3, 4, 5) or 0 in example.shape:
        shape = tuple(example.shape) if isinstance(example, Tensor) else type(example).__name__
        raise ValueError(
            f"convert: expected an example (batch, channels, *space) with 1 to 3 sides, received {shape!r}."
        )
    if match not in get_args(Match):
        raise ValueError(f"convert: match must be one of {get_args(Match)}, received {match!r}.")
    if not isinstance(output, FieldType) and output not in ("invariant", "regular", "vector"):
        raise ValueError(
            f"convert: output must be 'invariant', 'regular', 'vector' or a field type, received {output!r}."
        )
    if strides not in ("symmetric", "kept"):
        raise ValueError(f"convert: strides must be 'symmetric' or 'kept', received {strides!r}.")
    if not isinstance(override, Mapping) or not all(v == "keep" or callable(v) for v in override.values()):
        raise ValueError(f"convert: expected override={{path: a module, a function or 'keep'}}, received {override!r}.")
    unknown = set(override) - {name for name, _ in model.named_modules()}
    if unknown:
        raise ValueError(f"convert: override names {sorted(unknown)}, which the network has not: see named_modules().")
    return example.dim() - 2


def _widths(plan: Plan, net: nn.Module, match: Match) -> Widths:
    """Find the widths that come nearest to the original's parameters or multiply-adds."""
    if match == "width":
        return Widths(1.0)
    replaced = {id(p) for step in plan.steps if step.make for p in step.seen.module.parameters(recurse=False)}
    own = {name for name, p in net.named_parameters() if name in plan.tensors}
    rest = sum(p.numel() for name, p in net.named_parameters() if id(p) not in replaced and name not in own)

    def cost(widths: Widths) -> int:
        if match == "compute":
            return sum(step.products(widths) for step in plan.steps)
        return rest + sum(s.weights(widths) for s in plan.steps) + sum(size(plan.tensors[n], widths) for n in own)

    parameters = sum(p.numel() for p in net.parameters())
    target = sum(step.before for step in plan.steps) if match == "compute" else parameters
    if not target:
        return Widths(1.0)
    axes = [one for step in plan.steps for one in (step.seen.into, step.seen.out) if one is not None]
    numbered = {atom: n for n, atom in enumerate(dict.fromkeys(leaf for one in axes for leaf in one.leaves()))}
    found = [_nearest(cost, target, spread) for spread in ({}, numbered)]
    plainly, spread = (abs(cost(widths) / target - 1) for widths in found)
    return found[0] if plainly <= max(spread, ENOUGH) else found[1]


def _held(thing: object) -> list[Any]:
    """Return the leaves of what an object holds."""
    return tree_leaves(vars(thing)) if hasattr(thing, "__dict__") else []


def _kept(plan: Plan) -> str:
    """Say why widths are kept."""
    axes = [one for step in plan.steps for one in (step.seen.into, step.seen.out) if one is not None]
    why = {leaf.pinned: None for one in axes for leaf in one.leaves() if leaf.pinned}
    return ", ".join(why) or "whole numbers"


def _nearest(cost: Callable[[Widths], int], target: int, spread: Mapping[Atom, int]) -> Widths:
    """Bisect for the scale, up to twice the original widths."""
    low, high = 0.0, 2.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if cost(Widths(middle, spread)) <= target else (low, middle)
    return min((Widths(low, spread), Widths(high, spread)), key=lambda widths: abs(cost(widths) - target))


def _try(model: nn.Module, twin: Converted, example: Tensor) -> tuple[int, ...]:
    """Run the twin on the example; return the shape of the first output.

    `ConversionError` if the twin does not run or gives other shapes than the original, `ValueError` for channels that
    are no field of the output's type.
    """
    with torch.no_grad():
        with eval_mode(model):
            outputs = tree_leaves(model(example))
        wanted = [t.shape for t in outputs if isinstance(t, Tensor)]
        for other in outputs:
            if not isinstance(other, Tensor) and any(isinstance(t, Tensor) for t in _held(other)):
                raise ConversionError(
                    f"convert: the network returns a {type(other).__name__}, whose tensors cannot be seen: return a "
                    f"tensor, tuple, list or dict, or register it with torch.export.register_dataclass."
                )
        types = [out_type(twin.group, twin.output, s[1]) if len(s) > 1 and s[0] == 1 else None for s in wanted]
        twin.out_type = types[0] if types else None
        stuck: list[str] = []
        names = {id(m): name for name, m in twin.net.named_modules() if name in dict(model.named_modules())}
        handles = [
            m.register_forward_pre_hook(lambda m, _: stuck.append(names[id(m)]))
            for m in twin.net.modules()
            if id(m) in names
        ]
        try:
            with eval_mode(twin):
                results = [t for t in tree_leaves(twin(example)) if isinstance(t, Tensor)]
        except Exception as error:  # whatever the network's own code raises
            raise ConversionError(
                f"convert: with new widths the network does not run; behind {stuck[-1] if stuck else 'the start'!r}: "
                f"{error}. Code that writes numbers of channels wants match='width', or names such as x.flatten(1); "
                f"code that takes the images of a batch one by one has no twin."
            ) from error
        finally:
            for handle in handles:
                handle.remove()
    for shape, result in zip(wanted, results, strict=True):
        same = shape[1:] == result.shape[1:] or twin.output == "regular"
        if len(shape) and not (same and shape[0] == result.shape[0]):
            mean = "" if result.is_floating_point() else f" of {result.dtype}, of which there is no mean: return scores"
            raise ConversionError(
                f"convert: expected an output of shape {tuple(shape)} as the original gives, received "
                f"{tuple(result.shape)}{mean}."
            )
    return tuple(wanted[0]) if wanted else ()
