r"""Normalisation of fields by the statistics of a batch: by torch's kernels, or composed of tensor operations.

With mean $m_c$ and variance $v_c$ of channel c, of n channels of a field: $m = \frac1n \sum_c m_c$ where the group
permutes the channels, otherwise $m = 0$; $v = \frac1n \sum_c (v_c + (m_c - m)^2)$, $s = 1 / \sqrt{v + \epsilon}$,
$\hat x = s (x - m)$, $y = w \hat x + b$. Of several processes, n, m and v are those of the values of all of them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import blocks, by_channel, joined
from pdoconv.nn.checks import transformed
from pdoconv.nn.ranks import Ranks

Result = tuple[Tensor, Tensor, Tensor, Tensor | int]


def fits(x: Tensor) -> bool:
    """Tell whether `native` can take an input: on a CPU, neither traced nor transformed by `torch.func`."""
    return x.is_cpu and not torch.compiler.is_compiling() and not transformed()


def composed(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType, ranks: Ranks | None = None
) -> Result:
    """Normalise `(batch, channels, *space)`; return the output, mean and variance a field, and values a channel.

    Args:
        x: The input.
        weight: `(fields,)`, in at least float32.
        bias: `(fields,)`, 0 for fields that are not permuted.
        eps: Added to the variance.
        field: The type.
        ranks: Processes that share their statistics; `None`: this one alone.
    """
    wide = x.to(weight.dtype)
    axes = (0, *range(2, x.dim()))
    if x.numel():
        var, mean = torch.var_mean(wide, axes, correction=0)
    else:
        mean = var = wide.sum(axes)  # 0, with a gradient, for which other processes may wait
    mean, var, values = _over(ranks, *_of_fields(mean, var, field), x.numel() // x.shape[1])
    scale = weight * (var + eps).rsqrt()
    shape = (1, -1, *[1] * (x.dim() - 2))
    a, b = (by_channel(t, field, 0).view(shape) for t in (scale, bias - mean * scale))
    return torch.addcmul(b, x, a).to(x.dtype), mean, var, values  # factors in half precision would move whole fields


def native(x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType, ranks: Ranks | None = None) -> Result:
    """Do as `composed`, by torch's kernels for batch normalisation: faster, and the input keeps its memory format."""
    result: Result = _Normalise.apply(x, weight, bias, eps, field, ranks)  # type: ignore[no-untyped-call]  # torch's gap
    return result


def _of_fields(mean: Tensor, var: Tensor, field: FieldType) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each field from those of the channels."""
    centres, spreads = [], []
    for (kind, fields, m), (_, _, v) in zip(blocks(mean, field, 0), blocks(var, field, 0), strict=True):
        centres.append(m.mean(1) if kind.permutes else m.new_zeros(fields))
        spreads.append((v + (m - centres[-1][:, None]).square()).mean(1))
    return joined(centres, 0), joined(spreads, 0)


def _over(ranks: Ranks | None, mean: Tensor, var: Tensor, values: int) -> tuple[Tensor, Tensor, Tensor | int]:
    """Return mean and variance of the fields, and the number of values a channel, over all processes."""
    return (mean, var, values) if ranks is None else ranks.merged(mean, var, values)


def _with_values(x: Tensor, values: tuple[Tensor, Tensor, Tensor, Tensor], eps: float, field: FieldType) -> Tensor:
    """Normalise with given mean, variance, weight and bias of the fields: torch gets each once a channel."""
    mean, var, weight, bias = (by_channel(t, field, 0) for t in values)
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


class _Normalise(Function):
    r"""Torch's kernels work by channel, sums over the channels of a field come between.

    Backward, with N values a field: $db = \sum dy$, $dw = \sum \hat x\, dy$,
    $dx = w s (dy - (\hat x\, dw + db) / N)$ (Ioffe, Szegedy, ICML 2015, section 3), without db where no mean is
    subtracted. For one channel, these two sums are torch's gradients of weight and bias in eval mode. Of several
    processes, dx takes the sums over all; dw and db are each process's own, as of any other parameter.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, field: FieldType, ranks: Ranks | None
    ) -> Result:
        """Return the output, mean and variance of the fields, both in the dtype of the weight, and the values."""
        channels = x.shape[1]
        # running statistics that nothing reads: the results take their dtype
        unread = weight.new_zeros(channels), weight.new_ones(channels)
        stats = torch.batch_norm_update_stats(x, *unread, 0.0) if x.numel() else (unread[0], unread[0])
        mean, var, values = _over(ranks, *_of_fields(*stats, field), x.numel() // channels)
        ctx.save_for_backward(x, weight, bias, mean, var)
        ctx.mark_non_differentiable(mean, var, *([values] if isinstance(values, Tensor) else []))
        ctx.eps, ctx.field, ctx.ranks, ctx.values = eps, field, ranks, values
        return _with_values(x, (mean, var, weight, bias), eps, field), mean, var, values

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of input, weight and bias."""
        x, weight, bias, mean, var = ctx.saved_tensors
        field, eps, ranks = ctx.field, ctx.eps, ctx.ranks
        if torch.is_grad_enabled():  # to be differentiated again
            x, weight, bias = (t if t.requires_grad else t.detach().requires_grad_() for t in (x, weight, bias))
            y = composed(x, weight, bias, eps, field, ranks)[0]
            return (*torch.autograd.grad(y, (x, weight, bias), dy, create_graph=True), None, None, None)
        each = [by_channel(t, field, 0) for t in (weight, mean, var)]
        wide = x.dtype == weight.dtype
        if x.numel():
            gradients = torch.ops.aten.native_batch_norm_backward
            dx, dw, db = gradients(dy, x, *each, None, None, False, eps, [not wide, True, True])
        else:
            dx, dw, db = torch.empty_like(x), torch.zeros_like(each[0]), torch.zeros_like(each[0])
        dw, db = (joined([part.sum(1) for _, _, part in blocks(t, field, 0)], 0) for t in (dw, db))
        rstd = (var + eps).rsqrt()
        scale = weight * rstd
        # dx = scale dy + slope xhat + shift, both over the number of values, the shift only where a mean is subtracted
        share = [dw.new_ones(fields) * (-1 / (ctx.values * kind.dim)) for kind, fields in field.blocks]
        moved = [dw.new_full((fields,), float(kind.permutes)) for kind, fields in field.blocks]
        sums = torch.stack((dw, db * joined(moved, 0)))
        slope, shift = scale * joined(share, 0) * (sums if ranks is None else ranks.sum(sums))
        if wide:
            slope = slope * rstd
            factors = by_channel(torch.stack((scale, slope, shift - slope * mean)), field, 1)
            a, b, c = factors.view(3, -1, *[1] * (x.dim() - 2))
            dx = torch.addcmul(c, x, b).addcmul_(dy, a)
        else:  # half precision: kernels that take factors in float32, and no copy of x in float32
            dx += _with_values(x, (mean, var, slope, shift), eps, field)
        return dx, dw, db, None, None, None
