r"""Operators of torch for fast group convolutions: compiled, differentiated to any order, opaque to tracing.

The convolution is linear in its input x and in its block weights w, and the blocks are linear in the layer's weight, so
five operators are closed under differentiation: `blocks` and its adjoint, and the three that come from the trilinear
form $\langle y', f(x, w) \rangle$: `forward`, `input_gradient`, `weight_gradient`. Derivative maps are made anew in
each and never stored.
"""

from typing import Any

import torch
from torch import Tensor

from pdoconv.kernels import native, portable, triton_cuda, weights
from pdoconv.kernels.geometry import Geometry, dense, empty, out_space
from pdoconv.kernels.plan import Plan

_plans: list[Plan] = []  # an operator takes a plan by its number here


def number_of(plan: Plan) -> int:
    """Return the number by which the operators know a plan, in this process."""
    for number, known in enumerate(_plans):
        if known is plan:
            return number
    _plans.append(plan)
    return len(_plans) - 1


@torch.library.custom_op("pdoconv::blocks", mutates_args=())
def blocks(weight: Tensor, plan: int) -> Tensor:
    """Return the flat block weights of a layer's weight `(out_fields, in_fields, R, basis)`."""
    return weights.flatten(_plans[plan], weight)


@torch.library.custom_op("pdoconv::blocks_adjoint", mutates_args=())
def blocks_adjoint(flat: Tensor, plan: int, shape: list[int]) -> Tensor:
    """Return the adjoint of `blocks`."""
    return weights.gather(_plans[plan], flat, shape)


@torch.library.custom_op("pdoconv::forward", mutates_args=())
def forward(x: Tensor, flat: Tensor, plan: int, geometry: list[int], bias: Tensor | None) -> Tensor:
    """Return the convolution of `x` `(batch, in_channels, *space)`; `bias` has a number a field."""
    p, g = _plans[plan], Geometry(*geometry)
    if native.supports(x, g):
        return native.forward(p, x, flat, bias, g)
    if triton_cuda.supports(x, g):
        return triton_cuda.forward(p, x, flat, bias, g)
    x, layout = dense(x)
    y = portable.forward(p, x, flat, g)
    if bias is not None:
        y += bias.repeat_interleave(p.leave.rows).view(-1, *[1] * (x.dim() - 2))
    return y.contiguous(memory_format=layout)


@torch.library.custom_op("pdoconv::input_gradient", mutates_args=())
def input_gradient(gy: Tensor, flat: Tensor, plan: int, geometry: list[int], space: list[int]) -> Tensor:
    """Return the gradient of an input of size `space`."""
    p, g = _plans[plan], Geometry(*geometry)
    if native.supports(gy, g):
        return native.input_gradient(p, gy, flat, g, space)
    if triton_cuda.supports(gy, g):
        return triton_cuda.input_gradient(p, gy, flat, g, space)
    gy, layout = dense(gy)
    return portable.input_gradient(p, gy, flat, g, tuple(space)).contiguous(memory_format=layout)


@torch.library.custom_op("pdoconv::weight_gradient", mutates_args=())
def weight_gradient(x: Tensor, gy: Tensor, plan: int, geometry: list[int]) -> Tensor:
    """Return the gradient of the flat block weights."""
    p, g = _plans[plan], Geometry(*geometry)
    if native.supports(x, g):
        return native.weight_gradient(p, x, gy, g)
    if triton_cuda.supports(x, g):
        return triton_cuda.weight_gradient(p, x, gy, g)
    return portable.weight_gradient(p, x, gy, g)


@blocks.register_fake
def _(weight: Tensor, plan: int) -> Tensor:
    return weight.new_empty(weight.shape[0] * weight.shape[1] * _plans[plan].entries)


@blocks_adjoint.register_fake
def _(flat: Tensor, plan: int, shape: list[int]) -> Tensor:
    return flat.new_empty(shape)


@forward.register_fake
def _(x: Tensor, flat: Tensor, plan: int, geometry: list[int], bias: Tensor | None) -> Tensor:
    p, g = _plans[plan], Geometry(*geometry)
    space = out_space(p.stencils.shape[1:], x.shape[2:], g)
    return empty(x, g.out_fields * p.leave.rows, space, dense(x)[1])


@input_gradient.register_fake
def _(gy: Tensor, flat: Tensor, plan: int, geometry: list[int], space: list[int]) -> Tensor:
    return empty(gy, Geometry(*geometry).in_fields * _plans[plan].enter.inputs, space, dense(gy)[1])


@weight_gradient.register_fake
def _(x: Tensor, gy: Tensor, plan: int, geometry: list[int]) -> Tensor:
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


blocks.register_autograd(_blocks_backward, setup_context=_keep_weight)
blocks_adjoint.register_autograd(_blocks_adjoint_backward, setup_context=_keep_weight)
forward.register_autograd(_forward_backward, setup_context=_keep_two)
input_gradient.register_autograd(_input_gradient_backward, setup_context=_keep_two)
weight_gradient.register_autograd(_weight_gradient_backward, setup_context=_keep_two)
