r"""Operators of torch for fast group convolutions: compiled, differentiated to any order, opaque to tracing.

The convolution is linear in its input x and in its block weights w, and the blocks are linear in the layer's weight, so
five operators are closed under differentiation: `blocks` and its adjoint, and the three that come from the trilinear
form $\langle y', f(x, w) \rangle$: `forward`, `input_gradient`, `weight_gradient`. Derivative maps are made anew in
each and never stored.
"""

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pdoconv.kernels import native, portable, triton_cuda, weights
from pdoconv.kernels.geometry import Geometry, empty, out_space, without_gaps
from pdoconv.kernels.plan import Plan

_plans: dict[str, Plan] = {}


@lru_cache(maxsize=256)
def name_of(plan: Plan) -> str:
    """Return the name by which the operators know a plan: a hash of its content, the same in every process."""
    tables = (plan.enter, *plan.passes, plan.couple, plan.leave)
    arrays: list[Any] = [array for t in tables for array in (t.starts, t.sources, t.shifts, t.coefficients)]
    arrays += [plan.stencils, plan.coordinates, plan.pairs, np.zeros(0) if plan.mix is None else plan.mix]
    digest = hashlib.sha256(repr((plan.blocks, [array.shape for array in arrays])).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    name = digest.hexdigest()[:32]
    _plans.setdefault(name, plan)
    return name


_library = torch.library.Library("pdoconv", "DEF")  # type: ignore[no-untyped-call]  # torch's gap


def _operator(body: Callable[..., Tensor]) -> Any:
    """Make an operator of torch; autocast is off in it: it works in the dtype of its input, in backward passes too.

    `torch.library.custom_op` would do, but its first call imports the compiler, which takes more than a second.
    """

    def run(x: Tensor, *rest: Any) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return body(x, *rest)

    name = body.__name__
    schema = name + torch.library.infer_schema(body, mutates_args=())
    _library.define(schema, tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]  # torch's gap
    _library.impl(name, run, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]  # torch's gap
    return getattr(torch.ops.pdoconv, name).default


@_operator
def blocks(weight: Tensor, plan: str) -> Tensor:
    """Return the flat block weights of a layer's weight `(out_fields, in_fields, R, basis)`."""
    return weights.flatten(_plans[plan], weight)


@_operator
def blocks_adjoint(flat: Tensor, plan: str, shape: list[int]) -> Tensor:
    """Return the adjoint of `blocks`."""
    return weights.gather(_plans[plan], flat, shape)


@_operator
def forward(x: Tensor, flat: Tensor, plan: str, geometry: list[int], bias: Tensor | None) -> Tensor:
    """Return the convolution of `x` `(batch, in_channels, *space)`; `bias` has a number a field."""
    p, g = _plans[plan], Geometry(*geometry)
    if not x.numel():
        return _forward_fake(x, flat, plan, geometry, bias).zero_()
    if native.supports(x, g):
        return native.forward(p, x, flat, bias, g)
    if triton_cuda.supports(x, g):
        return triton_cuda.forward(p, x, flat, bias, g)
    x, layout = without_gaps(x)
    y = portable.forward(p, x, flat, g)
    if bias is not None:
        y += bias.repeat_interleave(p.leave.rows).view(-1, *[1] * (x.dim() - 2))
    return y.contiguous(memory_format=layout)


@_operator
def input_gradient(gy: Tensor, flat: Tensor, plan: str, geometry: list[int], space: list[int]) -> Tensor:
    """Return the gradient of an input of size `space`."""
    p, g = _plans[plan], Geometry(*geometry)
    if not gy.numel():
        return _input_gradient_fake(gy, flat, plan, geometry, space).zero_()
    if native.supports(gy, g):
        return native.input_gradient(p, gy, flat, g, space)
    if triton_cuda.supports(gy, g):
        return triton_cuda.input_gradient(p, gy, flat, g, space)
    gy, layout = without_gaps(gy)
    return portable.input_gradient(p, gy, flat, g, tuple(space)).contiguous(memory_format=layout)


@_operator
def weight_gradient(x: Tensor, gy: Tensor, plan: str, geometry: list[int]) -> Tensor:
    """Return the gradient of the flat block weights."""
    p, g = _plans[plan], Geometry(*geometry)
    if not x.numel() or not gy.numel():
        return _weight_gradient_fake(x, gy, plan, geometry).zero_()
    if native.supports(x, g):
        return native.weight_gradient(p, x, gy, g)
    if triton_cuda.supports(x, g):
        return triton_cuda.weight_gradient(p, x, gy, g)
    return portable.weight_gradient(p, x, gy, g)


def _blocks_fake(weight: Tensor, plan: str) -> Tensor:
    return weight.new_empty(weight.shape[0] * weight.shape[1] * _plans[plan].entries)


def _blocks_adjoint_fake(flat: Tensor, plan: str, shape: list[int]) -> Tensor:
    return flat.new_empty(shape)


def _forward_fake(x: Tensor, flat: Tensor, plan: str, geometry: list[int], bias: Tensor | None) -> Tensor:
    p, g = _plans[plan], Geometry(*geometry)
    space = out_space(p.stencils.shape[1:], x.shape[2:], g)
    return empty(x, g.out_fields * p.leave.rows, space, without_gaps(x)[1])


def _input_gradient_fake(gy: Tensor, flat: Tensor, plan: str, geometry: list[int], space: list[int]) -> Tensor:
    return empty(gy, Geometry(*geometry).in_fields * _plans[plan].enter.inputs, space, without_gaps(gy)[1])


def _weight_gradient_fake(x: Tensor, gy: Tensor, plan: str, geometry: list[int]) -> Tensor:
    g = Geometry(*geometry)
    return x.new_empty(g.in_fields * g.out_fields * _plans[plan].entries)


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, ctx.plan, *_ = inputs
    ctx.shape = list(first.shape)


def _keep_two(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    first, second, ctx.plan, ctx.geometry, *_ = inputs
    ctx.save_for_backward(first, second)
    ctx.space = list(first.shape[2:])


def _blocks_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return blocks_adjoint(grad, ctx.plan, ctx.shape), None


def _blocks_adjoint_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    return blocks(grad, ctx.plan), None, None


def _forward_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    x, flat = ctx.saved_tensors
    need_x, need_w, _, _, need_b = ctx.needs_input_grad
    gx = input_gradient(gy, flat, ctx.plan, ctx.geometry, ctx.space) if need_x else None
    gw = weight_gradient(x, gy, ctx.plan, ctx.geometry) if need_w else None
    gb = gy.flatten(2).sum((0, 2)).view(Geometry(*ctx.geometry).out_fields, -1).sum(1) if need_b else None
    return gx, gw, None, None, gb


def _input_gradient_backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
    gy, flat = ctx.saved_tensors
    need_gy, need_w, *_ = ctx.needs_input_grad
    ggy = forward(v, flat, ctx.plan, ctx.geometry, None) if need_gy else None
    gw = weight_gradient(v, gy, ctx.plan, ctx.geometry) if need_w else None
    return ggy, gw, None, None, None


def _weight_gradient_backward(ctx: Any, v: Tensor) -> tuple[Tensor | None, ...]:
    x, gy = ctx.saved_tensors
    need_x, need_gy, *_ = ctx.needs_input_grad
    gx = input_gradient(gy, v, ctx.plan, ctx.geometry, ctx.space) if need_x else None
    ggy = forward(x, v, ctx.plan, ctx.geometry, None) if need_gy else None
    return gx, ggy, None, None


torch.library.register_fake("pdoconv::blocks", _blocks_fake)
torch.library.register_fake("pdoconv::blocks_adjoint", _blocks_adjoint_fake)
torch.library.register_fake("pdoconv::forward", _forward_fake)
torch.library.register_fake("pdoconv::input_gradient", _input_gradient_fake)
torch.library.register_fake("pdoconv::weight_gradient", _weight_gradient_fake)
torch.library.register_autograd("pdoconv::blocks", _blocks_backward, setup_context=_keep_weight)
torch.library.register_autograd("pdoconv::blocks_adjoint", _blocks_adjoint_backward, setup_context=_keep_weight)
torch.library.register_autograd("pdoconv::forward", _forward_backward, setup_context=_keep_two)
torch.library.register_autograd("pdoconv::input_gradient", _input_gradient_backward, setup_context=_keep_two)
torch.library.register_autograd("pdoconv::weight_gradient", _weight_gradient_backward, setup_context=_keep_two)
