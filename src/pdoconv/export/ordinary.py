"""Convolutions of torch with given weights."""

import torch
from torch import Tensor, nn

CONVOLUTIONS: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}


def convolution(
    weight: Tensor,
    bias: Tensor | None,
    *,
    stride: int,
    padding: int,
    dilation: int,
    groups: int = 1,
    padding_mode: str = "zeros",
    transposed: bool = False,
) -> nn.Module:
    """Return an ordinary convolution in eval mode, with weights in the layout of torch's functions."""
    dim, several = weight.dim() - 2, weight.shape[1] * groups
    kind: type[nn.Module] = (TRANSPOSED if transposed else CONVOLUTIONS)[dim]
    new = kind(
        *((weight.shape[0], several) if transposed else (several, weight.shape[0])),
        tuple(weight.shape[2:]),
        stride,
        padding,
        dilation=dilation,
        groups=groups,
        bias=bias is not None,
        padding_mode=padding_mode,
        device=torch.device("meta"),
    )
    new.weight = nn.Parameter(weight.detach().contiguous())
    if bias is not None:
        new.bias = nn.Parameter(bias.detach())
    return new.eval()
