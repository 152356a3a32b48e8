import copy
import io
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported, if there is one

import pdoconv as pdo
from pdoconv.groups import Group

ORACLES = pathlib.Path(__file__).parent / "oracles"
GROUPS = {name: pdo.group(name) for name in ("C4", "C8", "C12", "D4", "D8")}


@pytest.fixture
def oracle():
    def load(name):
        with np.load(ORACLES / f"{name}.npz") as file:
            return {key: file[key] for key in file.files}

    return load


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def copies(module):
    """A module copied, pickled, and saved and loaded by torch."""
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return copy.deepcopy(module), pickle.loads(pickle.dumps(module)), torch.load(buffer, weights_only=False)


def relative(a, b):
    """Largest difference, relative to the largest entry of the reference b."""
    a, b = torch.as_tensor(a).detach(), torch.as_tensor(b).detach()
    assert a.shape == b.shape
    return float((a.double() - b.double()).abs().max() / b.double().abs().max())


def single(matrix):
    """A stand-in for a group: only the frames matter to a basis."""
    group = object.__new__(Group)
    values = {"name": "frame", "matrices": np.asarray(matrix)[None], "continuous": False, "order": 1}
    for name, value in {**values, "dim": len(matrix)}.items():
        object.__setattr__(group, name, value)
    return group


def season(net):
    """Draw every bias and the scales, shifts and statistics of every normalisation; float64, eval mode."""
    for part in net.modules():
        if isinstance(part, _BatchNorm):
            for values in (part.weight.data, part.running_var):
                values.uniform_(0.5, 1.5)
        for name in ("bias", "running_mean"):
            if isinstance(values := getattr(part, name, None), torch.Tensor):
                values.data.normal_(std=0.3)
    return net.double().eval()


class Computed(nn.Module):
    """The tensor calls of a layer, without its checks."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer.activate(x)


def variances(group, filters, fields):
    """Variance of the maps behind ten random layers with ReLU between them."""
    x, found = torch.randn(4, 1, 16, 16), []
    for depth in range(10):
        first = group.regular(fields) if depth else group.trivial(1)
        layer = pdo.GroupConv2d(
            first, group.regular(fields), 5, filters=filters, padding=2, padding_mode="circular", bias=False
        )
        with torch.no_grad():
            x = layer(x)
        found.append(float(x.var()))
        x = x.relu()
    return found


class WrongRoll(pdo.GroupConv2d):
    """The group axis rolled the wrong way: weights of g h instead of g^-1 h."""

    def kernel(self):
        group, size = self.in_type.group, self.kernel_size
        w = self.weight[:, :, torch.as_tensor(group.product)]
        dense = torch.einsum("oighb,gbxy->ogihxy", w, self.basis)
        return dense.reshape(self.out_type.channels, self.in_type.channels, size, size)
