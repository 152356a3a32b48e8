r"""Initialisation: the standard deviation of the weights.

*authors*: variance $2 / (\text{taps} \cdot c_\mathrm{in})$ on the learned template, He's rule for an ordinary 3x3 kernel.
*unit*: see `kernel_std`.
"""

import math
from functools import lru_cache

import numpy as np

from pdoconv.fields import FieldType
from pdoconv.filters import Filters
from pdoconv.filters.base import Basis


def kernel_std(filters: Filters, in_type: FieldType, out_type: FieldType, size: int, init: str) -> float:
    """placeholder"""
    basis = filters.basis(in_type.group, size)
    relative = in_type.group.order if in_type.kind == "regular" else 1
    if init == "authors":
        return math.sqrt(2 / (basis.shape[1] * in_type.fields * relative))
    energy = (basis**2).sum() / len(basis)
    gain = 2 if in_type.kind == "regular" else 1
    return math.sqrt(gain / (energy * in_type.fields * relative))
