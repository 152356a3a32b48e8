"""The authors' small network for MNIST-rot: p8, seven layers, 26,747 parameters (Shen et al., 2020: 1.87% error).

Layer 1 lifts to 7 regular fields, layers 2-6 are group convolutions, all 5x5 with zero padding 1 (so each map shrinks
by 2), BatchNorm, ReLU; 2x2 max pooling after layer 2; dropout after layers 1, 3, 4, 5, 6; layer 7 is an ordinary 4x4
convolution to the classes. The classifier reads all orientations, so invariance is learned, not built in.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdoconv.filters import Filters, paper
from pdoconv.nn import BatchNorm2d, GroupConv2d, MaxPool2d, Sequential
from pdoconv.pointgroups import cyclic


def mnist_small(
    *,
    classes: int = 10,
    fields: int = 7,
    filters: Filters | None = None,
    dropout: float = 0.2,
    init: Literal["unit", "authors"] = "authors",
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        fields: Regular fields of every layer.
        filters: Filter family; default `pdoconv.filters.paper()`, the authors'. With thirteen operators six fields have
            as many parameters as the authors' nine with seven.
        dropout: Probability of the elementwise dropout.
        init: Initialisation of the convolutions, see `pdoconv.nn.GroupConv`.

    >>> sum(p.numel() for p in mnist_small().parameters())
    26747
    >>> from pdoconv.filters import default
    >>> sum(p.numel() for p in mnist_small(filters=default(2), fields=6).parameters())
    26550
    """
    p8 = cyclic(8)
    image, hidden = p8.trivial(1), p8.regular(fields)
    layers: list[nn.Module] = []
    for number in range(1, 7):
        incoming = image if number == 1 else hidden
        conv = GroupConv2d(incoming, hidden, 5, filters=filters or paper(), padding=1, bias=False, init=init)
        layers += [conv, BatchNorm2d(hidden, eps=1e-3), nn.ReLU()]
        layers += [MaxPool2d(hidden, 2)] if number == 2 else [nn.Dropout(dropout)]
    classifier = nn.Conv2d(hidden.channels, classes, 4, bias=False)
    nn.init.xavier_uniform_(classifier.weight)
    return Sequential(*layers, classifier, nn.Flatten())


AUTHORS_NAMES = ("open_conv", "second_conv", "conv3", "conv4", "conv5", "conv6")


def from_authors(arrays: Mapping[str, NDArray[np.generic]]) -> dict[str, Tensor]:
    """Turn the variables of the authors' TensorFlow graph into a state_dict of `mnist_small()`.

    Args:
        arrays: `open_conv.weights` (HWIO), `open_conv.BatchNorm_1.gamma`, ..., `fc.weights`, as float arrays.

    Raises:
        ValueError: If a variable is missing.
    """
    state: dict[str, Tensor] = {}

    def take(name: str) -> Tensor:
        if name not in arrays:
            raise ValueError(f"from_authors: variable {name!r} is missing; received {sorted(arrays)}.")
        return torch.as_tensor(np.asarray(arrays[name], dtype=np.float32))

    for number, name in enumerate(AUTHORS_NAMES, start=1):
        conv = 4 * (number - 1)
        hwio = take(f"{name}.weights")
        height, width, channels, fields = hwio.shape
        in_fields = channels if number == 1 else channels // 8
        taps = hwio.reshape(height * width, in_fields, channels // in_fields, fields)
        state[f"{conv}.weight"] = taps.permute(3, 1, 2, 0).contiguous()
        for ours, theirs in (("weight", "gamma"), ("bias", "beta"), ("running_mean", "mm"), ("running_var", "mv")):
            state[f"{conv + 1}.{ours}"] = take(f"{name}.BatchNorm_{number}.{theirs}")
        state[f"{conv + 1}.num_batches_tracked"] = torch.tensor(0)
    state["24.weight"] = take("fc.weights").permute(3, 2, 0, 1).contiguous()
    return state
