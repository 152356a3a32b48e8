"""Layers of stacks as ordinary torch layers between two changes of shape."""

import torch
from torch import Tensor, nn

from pdoconv.export.ordinary import convolution
from pdoconv.nn.stacked import StackedConv, StackedLinear


class OpenedConv(nn.Module):
    """An ordinary convolution of all channels of all entries of a stack."""

    def __init__(self, layer: StackedConv) -> None:
        """Expand the kernel."""
        super().__init__()
        kernel, bias, groups = layer.arranged()
        self.before, self.layout = layer.before, layer.layout
        self.in_channels, self.out_channels, self.groups = layer.in_channels, layer.out_channels, layer.groups
        for name, value in layer.shown.items():  # code may read them
            setattr(self, name, value)
        self.conv = convolution(
            kernel,
            bias,
            **layer.geometry._asdict(),
            groups=groups,
            padding_mode=layer.padding_mode,
            transposed=layer.transposed,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch * |G|, in_channels, *space)` to `(batch * |G|, out_channels, *space')`."""
        y: Tensor = self.conv(self.layout.opened(x if self.before is None else self.before(x)))
        return self.layout.closed(y)


class OpenedLinear(nn.Module):
    """An ordinary linear layer of all channels of all entries of a stack."""

    def __init__(self, layer: StackedLinear) -> None:
        """Expand the matrix."""
        super().__init__()
        matrix, bias = layer.arranged()
        self.order, self.in_features, self.out_features = layer.order, layer.in_features, layer.out_features
        self.linear = nn.Linear(matrix.shape[1], matrix.shape[0], bias is not None)
        self.linear.weight = nn.Parameter(matrix.detach())
        if bias is not None:
            self.linear.bias = nn.Parameter(bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch * |G|, ..., in)` to `(batch * |G|, ..., out)`."""
        x = x.reshape(-1, self.order, *x.shape[1:]).movedim(1, -2).flatten(-2)
        return torch.unflatten(self.linear(x), -1, (self.order, -1)).movedim(-2, 1).flatten(0, 1)
