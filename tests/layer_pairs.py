"""A dense layer beside a fast one with the same weights, and how far they differ."""

import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.kernels import native

CLASSES = {1: pdo.PDOConv1d, 2: pdo.PDOConv2d, 3: pdo.PDOConv3d}
needs_kernel = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")


def pair(group, kinds=("regular", "regular"), size=5, method="fourier", dtype=torch.float64, fields=(3, 2), **options):
    """A dense layer and a fast one with the same weights."""
    types = [getattr(group, kind)(n) for kind, n in zip(kinds, fields, strict=True)]
    dense = CLASSES[group.dim](*types, size, dtype=dtype, method="dense", **options)
    if dense.bias is not None:
        torch.nn.init.normal_(dense.bias)
    fast = CLASSES[group.dim](*types, size, dtype=dtype, method=method, **options)
    fast.load_state_dict(dense.state_dict())
    return dense, fast


def difference(dense, fast, space, batch=2, layout=torch.contiguous_format):
    """Largest relative difference of output and gradients of input, weight and bias."""
    dtype = dense.weight.dtype
    x = torch.randn(batch, dense.in_type.channels, *space, dtype=dtype).to(memory_format=layout).requires_grad_()
    gy, results = None, []
    for layer in (dense, fast):
        layer.zero_grad()
        x.grad = None
        y = layer(x)
        gy = torch.randn_like(y) if gy is None else gy
        y.backward(gy)
        results.append([y, x.grad, *(p.grad for p in layer.parameters())])
    return max(relative(b, a) for a, b in zip(*results, strict=True))
