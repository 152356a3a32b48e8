r"""Normalisation of fields by the statistics of a batch: by torch's kernels, or composed of tensor operations.

With mean $m_c$ and variance $v_c$ of channel c, of n channels of a field: $m = \frac1n \sum_c m_c$ where the group
permutes the channels, otherwise $m = 0$; $v = \frac1n \sum_c (v_c + (m_c - m)^2)$, $s = 1 / \sqrt{v + \epsilon}$,
$\hat x = s (x - m)$, $y = w \hat x + b$.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import blocks, by_channel, joined
from pdoconv.nn.checks import transformed


def fits(x: Tensor) -> bool:
    """Tell whether `native` can take an input: on a CPU, not empty, neither traced nor transformed by `torch.func`."""
    return x.is_cpu and x.numel() > 0 and not torch.compiler.is_compiling() and not transformed()


def composed(x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType) -> tuple[Tensor, Tensor, Tensor]:
    """Normalise `(batch, channels, *space)`; return the output, and mean and variance of every field.

    Args:
        x: The input.
        weight: `(fields,)`, in at least float32.
        bias: `(fields,)`, 0 for fields that are not permuted.
        eps: Added to the variance.
        field: The type.
    """
    wide = x.to(weight.dtype)
    mean = var = wide.new_zeros(x.shape[1])  # of an empty batch
    if x.numel():
        var, mean = torch.var_mean(wide, (0, *range(2, x.dim())), correction=0)
    mean, var = _of_fields(mean, var, field)
    scale = weight * (var + eps).rsqrt()
    shape = (1, -1, *[1] * (x.dim() - 2))
    a, b = (by_channel(t, field, 0).view(shape) for t in (scale, bias - mean * scale))
    return torch.addcmul(b, x, a).to(x.dtype), mean, var  # factors in half precision would move whole fields


def native(x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType) -> tuple[Tensor, Tensor, Tensor]:
    """Do as `composed`, by torch's kernels for batch normalisation: faster, and the input keeps its memory format."""
    return _Normalise.apply(x, weight, bias, eps, field)  # type: ignore[no-untyped-call, no-any-return]  # torch's gap


def _of_fields(mean: Tensor, var: Tensor, field: FieldType) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each field from those of the channels."""
    centres, spreads = [], []
    for (kind, fields, m), (_, _, v) in zip(blocks(mean, field, 0), blocks(var, field, 0), strict=True):
        centres.append(m.mean(1) if kind.permutes else m.new_zeros(fields))
        spreads.append((v + (m - centres[-1][:, None]).square()).mean(1))
    return joined(centres, 0), joined(spreads, 0)


def _with_values(x: Tensor, values: tuple[Tensor, Tensor, Tensor, Tensor], eps: float, field: FieldType) -> Tensor:
    """Normalise with given mean, variance, weight and bias of the fields: torch gets each once a channel."""
    mean, var, weight, bias = (by_channel(t, field, 0) for t in values)
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


class _Normalise(Function):
    r"""Torch's kernels work by channel, sums over the channels of a field come between.

    Backward, with N values a field: $db = \sum dy$, $dw = \sum \hat x\, dy$,
    $dx = w s (dy - (\hat x\, dw + db) / N)$ (Ioffe, Szegedy, ICML 2015, section 3), without db where no mean is
    subtracted. For one channel, these two sums are torch's gradients of weight and bias in eval mode.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and mean and variance of the fields, both in the dtype of the weight."""
        channels = x.shape[1]
        # running statistics that nothing reads: the results take their dtype
        unread = weight.new_zeros(channels), weight.new_ones(channels)
        mean, var = _of_fields(*torch.batch_norm_update_stats(x, *unread, 0.0), field)
        ctx.save_for_backward(x, weight, bias, mean, var)
        ctx.mark_non_differentiable(mean, var)
        ctx.eps, ctx.field = eps, field
        return _with_values(x, (mean, var, weight, bias), eps, field), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        x, weight, bias, mean, var = ctx.saved_tensors
        field, eps = ctx.field, ctx.eps
        if torch.is_grad_enabled():  # to be differentiated again
            x, weight, bias = (t if t.requires_grad else t.detach().requires_grad_() for t in (x, weight, bias))
            y, _, _ = composed(x, weight, bias, eps, field)
            return (*torch.autograd.grad(y, (x, weight, bias), dy, create_graph=True), None, None)
        each = [by_channel(t, field, 0) for t in (weight, mean, var)]
        wide = x.dtype == weight.dtype
        gradients = torch.ops.aten.native_batch_norm_backward
        dx, dw, db = gradients(dy, x, *each, None, None, False, eps, [not wide, True, True])
        dw, db = (joined([part.sum(1) for _, _, part in blocks(t, field, 0)], 0) for t in (dw, db))
        rstd = (var + eps).rsqrt()
        scale, values = weight * rstd, x.numel() // x.shape[1]
        # dx = scale dy + slope xhat + shift, both over the number of values, the shift only where a mean is subtracted
        share = [dw.new_full((fields,), -1 / (values * kind.dim)) for kind, fields in field.blocks]
        moved = [dw.new_full((fields,), float(kind.permutes)) for kind, fields in field.blocks]
        slope, shift = scale * joined(share, 0) * torch.stack((dw, db * joined(moved, 0)))
        if wide:
            slope = slope * rstd
            factors = by_channel(torch.stack((scale, slope, shift - slope * mean)), field, 1)
            a, b, c = factors.view(3, -1, *[1] * (x.dim() - 2))
            dx = torch.addcmul(c, x, b).addcmul_(dy, a)
        else:  # half precision: kernels that take factors in float32, and no copy of x in float32
            dx += _with_values(x, (mean, var, slope, shift), eps, field)
        return dx, dw, db, None, None
