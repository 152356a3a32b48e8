"""Fingerprints of the filter bases in a network: weights mean something with the basis that they were trained with."""

import hashlib

import numpy as np
from torch import nn

from pdoconv.filters import fingerprint
from pdoconv.filters.circular import ring_basis
from pdoconv.nn import HarmonicConv2d
from pdoconv.nn.kernel import GroupKernel


def fingerprints(net: nn.Module) -> list[str]:
    """Return the fingerprints of every distinct basis of group convolutions, in order of appearance."""
    layers = [m for m in net.modules() if isinstance(m, GroupKernel)]  # those of converted networks too
    return list(dict.fromkeys(fingerprint(m.filters, m.in_type.group, m.side) for m in layers))


def ring_fingerprints(net: nn.Module) -> list[str]:
    """Return those of every distinct basis of harmonic convolutions."""
    found: dict[str, None] = {}
    for layer in net.modules():
        if isinstance(layer, HarmonicConv2d):
            bases = [ring_basis(layer.kernel_size, order, layer.rings) for order in layer.orders]
            rounded = np.round(np.stack(bases).view(np.float64), 9) + 0.0
            found[hashlib.sha256(str(rounded.shape).encode() + rounded.tobytes()).hexdigest()[:16]] = None
    return list(found)
