"""Batch normalisation over fields: statistics and parameters are shared by the channels of a field."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from pdoconv.fields import FieldType
from pdoconv.nn import normalise
from pdoconv.nn.blocks import by_channel, joined
from pdoconv.nn.checks import require_dim, require_dtype
from pdoconv.nn.ranks import Ranks


class BatchNorm(_BatchNorm):
    r"""Normalise each field over batch, group and space.

    $y = w (x - m) / \sqrt{v + \epsilon} + b$ with mean $m$ and variance $v$ of the field, in training the batch's.
    Sharing over the group axis is what keeps equivariance: with statistics a channel the group action, which permutes
    channels, would meet other scales.

    Contiguous and channels_last inputs are not copied, and output and gradient keep their memory format. Contiguous
    maps of one field lie together, so a view makes a field one channel of `F.batch_norm`. In channels_last they do not:
    `F.batch_norm` gets the values of a field once for each of its channels, in training by `pdoconv.nn.normalise`.

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
        ranks: Processes that share their statistics in training, set by `pdoconv.nn.synchronise`; `None`: none do.

    Raises:
        ValueError: If `in_type` is of another dimension, or an input is not of that type or has another dtype than the
            parameters.
    """

    only_dim: int | None = None
    ranks: Ranks | None = None

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
        if self.training and self.ranks is not None and self.ranks.several():
            return by_batch(self, x, self.in_type, self.ranks)
        if len(self.in_type.blocks) > 1 or not self.in_type.permuted or x.is_cuda:
            return self._by_block(x)  # cuDNN gives each of its channels one block of threads: fields are too few
        fields, size = self.in_type.fields, self.in_type.field_size
        if not x.is_contiguous() and x.movedim(1, -1).is_contiguous():
            return self._channels_last(x)
        # group and first axis of space in one: some backends take no more than three axes after the fields
        joined = x.reshape(x.shape[0], fields, size * x.shape[2], *x.shape[3:])
        return super().forward(joined).reshape(x.shape)

    def _by_block(self, x: Tensor) -> Tensor:
        """Normalise fields of any kinds, by one factor and one shift a field."""
        if not (self.training or self.running_mean is None or self.running_var is None):
            mean, var, weight, bias = self.channel_values()
            return F.batch_norm(x, mean, var, weight, bias, eps=self.eps)
        return by_batch(self, x, self.in_type)

    def channel_values(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Return running mean, running variance, weight and bias of every channel, each `None` where there is none."""
        fields = (
            None if self.running_mean is None else _of_all(self.running_mean, self.in_type),
            self.running_var,
            self.weight,
            None if self.bias is None else _of_all(self.bias, self.in_type),
        )
        mean, var, weight, bias = (None if t is None else by_channel(t, self.in_type, 0) for t in fields)
        return mean, var, weight, bias

    def _channels_last(self, x: Tensor) -> Tensor:
        """Map an input whose channels lie innermost in memory to an output that lies alike."""
        fields = self.in_type.fields
        train = self.training or self.running_mean is None or self.running_var is None
        if x.dim() == 3 or (
            train and not (x.numel() and normalise.fits(x))
        ):  # torch's own on a view, slower than what follows
            innermost = x.movedim(1, -1)
            return (
                super()
                .forward(innermost.reshape(-1, fields, x.shape[1] // fields))
                .view(innermost.shape)
                .movedim(-1, 1)
            )
        return self._by_block(x)

    def _check_input_dim(self, input: Tensor) -> None:
        """Torch's hook for the number of axes: `forward` has checked them."""

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(BatchNorm):
    """`BatchNorm` on the line."""

    only_dim = 1


class BatchNorm2d(BatchNorm):
    """`BatchNorm` on the plane."""

    only_dim = 2


class BatchNorm3d(BatchNorm):
    """`BatchNorm` in space."""

    only_dim = 3


def by_batch(layer: _BatchNorm, x: Tensor, field: FieldType, ranks: Ranks | None = None) -> Tensor:
    """Normalise by the statistics of the batch, and in training keep them.

    Args:
        layer: The parameters and running statistics.
        x: `(batch, channels, ...)`.
        field: Type of `x`.
        ranks: Processes that share their statistics; `None`: this one alone.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    single = x.numel() == x.shape[1] and any(k.dim == 1 and k.permutes for k, _ in field.blocks)
    if layer.training and ranks is None and single:
        raise ValueError(f"{type(layer).__name__}: expected more than one value a field, received {tuple(x.shape)}.")
    weight = x.new_ones(field.fields, dtype=dtype) if layer.weight is None else layer.weight.to(dtype)
    bias = x.new_zeros(field.fields, dtype=dtype) if layer.bias is None else _of_all(layer.bias.to(dtype), field)
    native = normalise.fits(x) and (ranks is not None or x.numel() > 0)
    function = normalise.native if native else normalise.composed
    y, mean, var, values = function(x, weight, bias, layer.eps, field, ranks)
    if layer.training and layer.track_running_stats and (x.numel() or values):
        means, unbiased, start = [mean[:0]], [], 0
        for kind, fields in field.blocks:
            part, count = slice(start, start + fields), values * kind.dim
            means += [mean[part]] if kind.permutes else []
            unbiased.append(var[part] * _correction(count) if kind.permutes else var[part])
            start += fields
        _update(layer, joined(means, 0).detach(), joined(unbiased, 0).detach())
    return y


def _correction(count: Tensor | int) -> Tensor | float:
    """Return n / (n - 1), which makes a variance unbiased; 1 of a single value."""
    return count / (count - 1).clamp(min=1) if isinstance(count, Tensor) else count / max(count - 1, 1)


def _of_all(values: Tensor, field: FieldType) -> Tensor:
    """Spread values of the permuted fields over all fields; the others have 0."""
    parts, used = [], 0
    for kind, fields in field.blocks:
        parts.append(values[used : used + fields] if kind.permutes else values.new_zeros(fields))
        used += fields if kind.permutes else 0
    return joined(parts, 0)


def _update(layer: _BatchNorm, mean: Tensor, var: Tensor) -> None:
    """Move the running statistics towards mean and unbiased variance of a batch, as `F.batch_norm` does."""
    share = layer.momentum
    if layer.num_batches_tracked is not None:
        layer.num_batches_tracked.add_(1)
        share = 1 / float(layer.num_batches_tracked) if share is None else share
    for running, now in ((layer.running_mean, mean), (layer.running_var, var)):
        if running is not None:
            running.lerp_(now.to(running.dtype), share or 0.0)
