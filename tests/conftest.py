import copy
import io
import os
import pathlib
import pickle

import numpy as np
import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is first imported, if there is one

import pdoconv as pdo

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
