"""Turn a trained equivariant network into ordinary torch layers."""

import copy
import operator
import warnings
from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pdoconv.export.ordinary import CONVOLUTIONS, TRANSPOSED, convolution
from pdoconv.export.stacks import OpenedConv, OpenedLinear
from pdoconv.nn import (
    AvgPool,
    BatchNorm,
    BlurPool,
    FieldDropout,
    GroupConv,
    HarmonicConv2d,
    MaxPool,
    PointwiseActivation,
    Sequential,
    VectorOutput,
)
from pdoconv.nn.domain import DomainBatchNorm2d
from pdoconv.nn.halving import GridPool
from pdoconv.nn.stacked import StackedConv, StackedLinear
from pdoconv.nn.synchronised import unsynchronise
from pdoconv.nn.transposed import GroupConvTranspose
from pdoconv.nn.upsample import LINEAR, Upsample

NORMS: dict[int, type[nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]] = {
    1: nn.BatchNorm1d,
    2: nn.BatchNorm2d,
    3: nn.BatchNorm3d,
}
MAXIMA: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEANS: dict[int, type[nn.Module]] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
DROPOUTS = (FieldDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def export(net: nn.Module) -> nn.Module:
    """Return an ordinary module for inference: `nn.Conv*d` with BatchNorm folded in; `net` itself stays as it is.

    Group convolutions become `nn.Conv1d`, `nn.Conv2d` or `nn.Conv3d` with the expanded kernels, transposed ones
    `nn.ConvTranspose*d`, those of converted networks such layers between changes of shape. Group pooling, norms and
    gates become traced tensor calls, dropout goes. BatchNorm that follows a convolution is folded into it;
    where the order of calls in `forward` cannot be traced, BatchNorm stays as torch's, with a warning. Outputs agree
    with `net.eval()` to rounding.

    Args:
        net: A module made of this package's layers and of torch's.

    Raises:
        ValueError: If the network keeps no running statistics to fold.

    >>> from pdoconv import PDOConv2d, cyclic
    >>> export(PDOConv2d(cyclic(4).trivial(1), cyclic(4).regular(2), padding=2))
    Conv2d(1, 8, kernel_size=(5, 5), stride=(1, 1), padding=(2, 2))
    """
    plain = unsynchronise(copy.deepcopy(net).eval())
    for part in plain.modules():
        if isinstance(folds := getattr(part, "folds", None), dict):  # of `pdoconv.convert`, whose code is any
            _fold_stacks(cast(nn.Module, part.net), folds)
    plain = _replace(plain, {})
    for parameter in plain.parameters():
        parameter.requires_grad_(False)
    _fold_batch_norm(plain)
    like = next((t for t in net.state_dict().values() if t.is_floating_point()), torch.empty(0))
    plain.to(like.device, like.dtype)  # a blur has neither parameters nor statistics that would tell
    return _without_identities(plain)


def _fold_stacks(net: nn.Module, folds: dict[str, str]) -> None:
    """Fold each BatchNorm into the convolution of stacks that it alone reads; both are given by their paths."""
    modules = dict(net.named_modules())
    for conv_path, norm_path in folds.items():
        conv, norm = modules.get(conv_path), modules.get(norm_path)
        if not isinstance(conv, StackedConv) or not isinstance(norm, _BatchNorm):
            continue
        if norm.running_mean is None or norm.running_var is None:
            continue
        scale = torch.rsqrt(norm.running_var + norm.eps) * (1.0 if norm.weight is None else norm.weight.detach())
        bias = (0.0 if conv.bias is None else conv.bias.detach()) - norm.running_mean
        shift = 0.0 if norm.bias is None else norm.bias.detach()
        conv.weight = nn.Parameter(conv.weight.detach() * scale[:, None, None, None])
        conv.bias = nn.Parameter(bias * scale + shift)
        _set(net, norm_path, nn.Identity())


def _replace(module: nn.Module, done: dict[nn.Module, nn.Module]) -> nn.Module:
    """Replace this package's layers by torch's, depth first."""
    if isinstance(module, GroupConv | HarmonicConv2d | GroupConvTranspose):
        return _plain_conv(module)
    if isinstance(module, StackedConv):
        return OpenedConv(module).eval()
    if isinstance(module, StackedLinear):
        return OpenedLinear(module).eval()
    if isinstance(module, BatchNorm):
        return _plain_norm(module)
    if isinstance(module, Upsample):
        mode = LINEAR[module.in_type.group.dim] if module.mode == "linear" else "nearest"
        return nn.Upsample(scale_factor=module.scale_factor, mode=mode)
    if isinstance(module, VectorOutput):
        return _plain_vectors(module)
    if isinstance(module, PointwiseActivation) and isinstance(module.function, nn.Module):
        return _replace(module.function, done)
    if isinstance(module, AvgPool) or (isinstance(module, MaxPool) and module.in_type.permuted):
        pools = MAXIMA if isinstance(module, MaxPool) else MEANS
        return pools[module.in_type.group.dim](module.kernel_size, module.stride, module.padding)
    if hasattr(module, "in_type") and callable(getattr(module, "activate", None)):
        return fx.symbolic_trace(_Unchecked(module)).eval()
    if isinstance(module, BlurPool):
        return _plain_blur(module)
    if isinstance(module, GridPool):
        return module.pool
    if isinstance(module, DROPOUTS):
        return nn.Identity()
    for name, child in list(module._modules.items()):  # also the second name of a layer that has two
        if child is not None:
            if child not in done:
                done[child] = _replace(child, done)
            setattr(module, name, done[child])
    if type(module) is Sequential:
        return nn.Sequential(OrderedDict(module._modules)).eval()
    return module


def _plain_conv(layer: GroupConv | HarmonicConv2d | GroupConvTranspose) -> nn.Module:
    transposed = isinstance(layer, GroupConvTranspose)
    return convolution(
        layer.kernel().transpose(0, 1) if transposed else layer.kernel(),
        layer.dense_bias(),
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        padding_mode="zeros" if isinstance(layer, GroupConvTranspose) else layer.padding_mode,
        transposed=transposed,
    )


def _plain_blur(layer: BlurPool) -> nn.Module:
    channels, size = layer.in_type.channels, layer.kernel_size
    conv = CONVOLUTIONS[layer.in_type.group.dim](
        channels, channels, size, layer.stride, layer.padding, groups=channels, bias=False, padding_mode="reflect"
    )
    conv.weight.data = layer.taps.expand_as(conv.weight).clone()
    return conv


class _Unchecked(nn.Module):
    """The tensor calls of a layer, without its checks, to be traced: torch has no module for them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer.activate(x)  # type: ignore[operator, no-any-return]  # `_replace` has seen that it is a method


class _ByPixel(nn.Module):
    """A linear map of the channels, at every pixel or of pooled features."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]  # torch's gap


def _plain_vectors(layer: VectorOutput) -> nn.Module:
    weight, bias = layer.kernel().detach().flatten(1), layer.dense_bias()
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    linear.weight.data = weight
    if bias is not None:
        linear.bias.data = bias.detach()
    return fx.symbolic_trace(_ByPixel(linear)).eval()


def _plain_norm(layer: BatchNorm) -> nn.Module:
    mean, var, weight, bias = layer.channel_values()
    if mean is None or var is None:
        raise ValueError(
            f"export: {type(layer).__name__} without running statistics has nothing to fold: track_running_stats=True."
        )
    norm = NORMS[layer.in_type.group.dim](layer.in_type.channels, layer.eps, affine=True)
    norm.weight.data = torch.ones_like(mean) if weight is None else weight.detach()
    norm.bias.data = torch.zeros_like(mean) if bias is None else bias.detach()
    norm.running_mean, norm.running_var = mean, var
    return norm.eval()


class _Tracer(fx.Tracer):
    """Step over modules without a BatchNorm to fold, such as PDEs: their own `forward` need not be traceable."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        norms = tuple(NORMS.values())
        inside = any(isinstance(part, norms) for part in m.modules() if part is not m)
        known = isinstance(m, DomainBatchNorm2d) or hasattr(m, "folds")
        return super().is_leaf_module(m, module_qualified_name) or known or not inside


def _fold_batch_norm(net: nn.Module) -> None:
    """Fold every BatchNorm whose only input is a convolution that nothing else reads."""
    norms, transposed = tuple(NORMS.values()), tuple(TRANSPOSED.values())
    convolutions = (*CONVOLUTIONS.values(), *transposed)
    if hasattr(net, "folds") or not any(isinstance(m, norms) for m in net.modules() if m is not net):
        return
    try:
        graph = _Tracer().trace(net)
    except Exception as error:  # fx raises many kinds for code that depends on data
        warnings.warn(f"export: forward cannot be traced, BatchNorm is not folded: {error}", stacklevel=3)
        return
    modules = dict(net.named_modules())
    for node in graph.nodes:
        source = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(source, fx.Node) or source.op != "call_module":
            continue
        norm, conv = modules[str(node.target)], modules[str(source.target)]
        once = sum(n.op == "call_module" and n.target in (node.target, source.target) for n in graph.nodes) == 2
        if isinstance(norm, norms) and isinstance(conv, convolutions) and len(source.users) == 1 and once:
            if isinstance(conv, transposed) and conv.groups > 1:
                continue  # torch does not fuse these
            _set(net, str(source.target), fuse_conv_bn_eval(conv, norm, isinstance(conv, transposed)))
            _set(net, str(node.target), nn.Identity())


def _set(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(operator.attrgetter(parent)(net) if parent else net, last, module)


def _without_identities(net: nn.Module) -> nn.Module:
    """Drop `nn.Identity` from plain Sequentials; elsewhere a forward may count on the places."""
    if type(net) is not nn.Sequential:
        return net
    kept = [_without_identities(m) for m in net if not isinstance(m, nn.Identity)]
    return nn.Sequential(*kept).eval()
