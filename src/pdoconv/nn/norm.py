"""Batch normalisation over fields: statistics and parameters are shared by the channels of a field."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import blocks, by_channel, joined
from pdoconv.nn.checks import require_dim, require_dtype, transformed


class BatchNorm(_BatchNorm):
    r"""Normalise each field over batch, group and space.

    $y = w (x - m) / \sqrt{v + \epsilon} + b$ with mean $m$ and variance $v$ of the field, in training the batch's.
    Sharing over the group axis is what keeps equivariance: with statistics a channel the group action, which permutes
    channels, would meet other scales.

    Contiguous and channels_last inputs are not copied, and output and gradient keep their memory format. Contiguous
    maps of one field lie together, so a view makes a field one channel of `F.batch_norm`. In channels_last they do not:
    `F.batch_norm` gets the values of a field once for each of its channels, in training by way of `_Normalise`.

    Fields whose channels the group does not permute (irreducible ones, vectors) are divided by the root of their mean
    square a channel: $y = w\, x / \sqrt{E|x|^2 / D + \epsilon}$. They have no mean that the group leaves alone: none
    is subtracted and none added.

    Args:
        in_type: Type of input and output, fields of any kind.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running statistics.
        affine: Learn a scale and a shift a field.
        track_running_stats: Keep running statistics for eval mode.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        weight, running_var: `(fields,)`.
        bias, running_mean: One for each permuted field.

    Raises:
        ValueError: If `in_type` is of another dimension, or an input is not of that type or has another dtype than the
            parameters.
    """

    only_dim: int | None = None

    def __init__(
        self,
        in_type: FieldType,
        *,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Make parameters and statistics, one a field."""
        super().__init__(in_type.fields, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        require_dim(self, in_type)
        self.in_type = self.out_type = in_type
        permuted = sum(fields for kind, fields in in_type.blocks if kind.permutes)
        if self.bias is not None:
            kept = nn.Parameter(self.bias.detach()[:permuted].clone()) if permuted else None
            self.register_parameter("bias", kept)
        if self.running_mean is not None:
            self.running_mean = self.running_mean[:permuted].clone()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, type(self).__name__)
        parameter = self.running_mean if self.weight is None else self.weight
        if parameter is not None:
            require_dtype(self, x, parameter)
        if len(self.in_type.blocks) > 1 or not self.in_type.permuted:
            return self._by_block(x)
        fields, size = self.in_type.fields, self.in_type.field_size
        if not x.is_contiguous() and x.movedim(1, -1).is_contiguous():
            return self._channels_last(x)
        # group and first axis of space in one: some backends take no more than three axes after the fields
        joined = x.reshape(x.shape[0], fields, size * x.shape[2], *x.shape[3:])
        return super().forward(joined).reshape(x.shape)

    def _by_block(self, x: Tensor) -> Tensor:
        """Normalise fields of any kinds: one factor and one shift a field, from the statistics of its channels."""
        if not (self.training or self.running_mean is None or self.running_var is None):
            mean, var, weight, bias = self.channel_values()
            return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)
        mean, var = self._statistics(x)
        scale = (var + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        shift = -self._of_all(mean) * scale
        if self.bias is not None:
            shift = shift + self._of_all(self.bias)
        shape = (1, -1, *[1] * (x.dim() - 2))
        a, b = (by_channel(t, self.in_type, 0).view(shape) for t in (scale, shift))
        return torch.addcmul(b, x, a).to(x.dtype)  # factors in half precision would move whole fields

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean of each permuted field and the variance of each field; follow them in training."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variances, means = torch.var_mean(wide, (0, *range(2, x.dim())), correction=0)
        centres, spreads, unbiased = [means[:0]], [], []
        for (kind, _, v), (_, _, m) in zip(
            blocks(variances, self.in_type, 0), blocks(means, self.in_type, 0), strict=True
        ):
            count = x.numel() // x.shape[1] * kind.dim
            if kind.permutes:
                centres.append(m.mean(1))
                spreads.append((v + (m - centres[-1][:, None]).square()).mean(1))
                unbiased.append(spreads[-1] * (count / max(count - 1, 1)))
            else:
                spreads.append((v + m.square()).mean(1))
                unbiased.append(spreads[-1])
        mean, var = joined(centres, 0), joined(spreads, 0)
        if self.training and self.track_running_stats:
            self._update(mean.detach(), joined(unbiased, 0).detach())
        return mean, var

    def channel_values(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Return running mean, running variance, weight and bias of every channel, each `None` where there is none."""
        fields = (
            None if self.running_mean is None else self._of_all(self.running_mean),
            self.running_var,
            self.weight,
            None if self.bias is None else self._of_all(self.bias),
        )
        mean, var, weight, bias = (None if t is None else by_channel(t, self.in_type, 0) for t in fields)
        return mean, var, weight, bias

    def _of_all(self, values: Tensor) -> Tensor:
        """Spread values of the permuted fields over all fields; the others have 0."""
        parts, used = [], 0
        for kind, fields in self.in_type.blocks:
            parts.append(values[used : used + fields] if kind.permutes else values.new_zeros(fields))
            used += fields if kind.permutes else 0
        return joined(parts, 0)

    def _channels_last(self, x: Tensor) -> Tensor:
        """Map an input whose channels lie innermost in memory to an output that lies alike."""
        fields, mean, var = self.in_type.fields, self.running_mean, self.running_var
        train = self.training or mean is None or var is None
        if x.dim() == 3 or (train and not _native(x)):  # torch's own on a view, slower than what follows
            innermost = x.movedim(1, -1)
            return super().forward(_by_field(x, fields)).view(innermost.shape).movedim(-1, 1)
        if not train:
            return _with_values(x, mean, var, self.weight, self.bias, self.eps)
        dtype = torch.promote_types(x.dtype, torch.float32)
        weight = x.new_ones(fields, dtype=dtype) if self.weight is None else self.weight.to(dtype)
        bias = x.new_zeros(fields, dtype=dtype) if self.bias is None else self.bias.to(dtype)
        y, now_mean, now_var = _Normalise.apply(x, weight, bias, self.eps)  # type: ignore[no-untyped-call]  # torch's gap
        if self.training and self.track_running_stats:
            count = x.numel() // fields
            self._update(now_mean, now_var * (count / (count - 1)))
        return y  # type: ignore[no-any-return]  # torch's gap

    def _update(self, mean: Tensor, var: Tensor) -> None:
        """Move the running statistics towards mean and unbiased variance of a batch, as `F.batch_norm` does."""
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / float(self.num_batches_tracked) if share is None else share
        for running, now in ((self.running_mean, mean), (self.running_var, var)):
            if running is not None:
                running.lerp_(now.to(running.dtype), share or 0.0)

    def _check_input_dim(self, input: Tensor) -> None:
        """Torch's hook for the number of axes: `forward` has checked them."""

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}, eps={self.eps}, momentum={self.momentum}"


def _native(x: Tensor) -> bool:
    """Tell whether `_Normalise` can take an input: on a CPU, and neither traced nor transformed by `torch.func`."""
    return x.is_cpu and not torch.compiler.is_compiling() and not transformed()


def _by_field(x: Tensor, fields: int) -> Tensor:
    """View `(batch, channels, *space)` with the channels innermost in memory as `(batch * space, fields, size)`."""
    return x.movedim(1, -1).reshape(-1, fields, x.shape[1] // fields)


def _with_values(
    x: Tensor, mean: Tensor | None, var: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalise with given values a field, `(fields,)`: torch gets each once a channel."""
    mean, var, weight, bias = (
        None if t is None else t.repeat_interleave(x.shape[1] // len(t)) for t in (mean, var, weight, bias)
    )
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


class _Normalise(Function):
    r"""Normalise fields in channels_last: torch's kernels work by channel, sums over the n channels of a field between.

    Forward, with mean $m_c$ and variance $v_c$ of channel c: $m = \frac1n \sum_c m_c$,
    $v = \frac1n \sum_c (v_c + (m_c - m)^2)$, $s = 1 / \sqrt{v + \epsilon}$, $\hat x = s (x - m)$, $y = w \hat x + b$.

    Backward, with N values a field: $db = \sum dy$, $dw = \sum \hat x\, dy$,
    $dx = w s (dy - (\hat x\, dw + db) / N)$ (Ioffe, Szegedy, ICML 2015, section 3). For one channel, these two sums are
    torch's gradients of weight and bias in eval mode.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return the output, and mean and variance of the fields, both in the dtype of the weight."""
        channels, size = x.shape[1], x.shape[1] // len(weight)
        # running statistics that nothing reads: the results take their dtype
        unread = weight.new_zeros(channels), weight.new_ones(channels)
        mean, var = (t.view(-1, size) for t in torch.batch_norm_update_stats(x, *unread, 0.0))
        centre = mean.mean(1, keepdim=True)
        mean, var = centre.squeeze(1), (var + (mean - centre).square()).mean(1)
        ctx.save_for_backward(x, weight, mean, var)
        ctx.mark_non_differentiable(mean, var)
        ctx.eps = eps
        return _with_values(x, mean, var, weight, bias, eps), mean, var

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of input, weight and bias."""
        x, weight, mean, var = ctx.saved_tensors
        fields, size, rstd = len(weight), x.shape[1] // len(weight), (var + ctx.eps).rsqrt()
        gradients = torch.ops.aten.native_batch_norm_backward
        if torch.is_grad_enabled():  # to be differentiated again, which torch's own formula in training mode can be
            views = _by_field(dy, fields), _by_field(x, fields)
            dx, dw, db = gradients(*views, weight, None, None, mean, rstd, True, ctx.eps, [True, True, True])
            return dx.reshape(x.movedim(1, -1).shape).movedim(-1, 1), dw, db, None
        each = torch.stack((weight, mean, var)).repeat_interleave(size, 1)
        wide = x.dtype == weight.dtype
        dx, dw, db = gradients(dy, x, *each, None, None, False, ctx.eps, [not wide, True, True])
        dw, db = dw.view(fields, size).sum(1), db.view(fields, size).sum(1)
        scale, count = weight * rstd, x.numel() // fields
        slope, shift = -scale / count * torch.stack((dw, db))  # dx = scale dy + slope xhat + shift
        if wide:
            slope = slope * rstd
            factors = torch.stack((scale, slope, shift - slope * mean)).repeat_interleave(size, 1)
            a, b, c = factors.view(3, -1, *[1] * (x.dim() - 2))
            dx = torch.addcmul(c, x, b).addcmul_(dy, a)
        else:  # half precision: kernels that take factors in float32, and no copy of x in float32
            dx += _with_values(x, mean, var, slope, shift, ctx.eps)
        return dx, dw, db, None


class BatchNorm1d(BatchNorm):
    """`BatchNorm` on the line."""

    only_dim = 1


class BatchNorm2d(BatchNorm):
    """`BatchNorm` on the plane."""

    only_dim = 2


class BatchNorm3d(BatchNorm):
    """`BatchNorm` in space."""

    only_dim = 3
