r"""Polar transformer network for MNIST-rot (Esteves et al., 2018: PTN-B 131,959 parameters, PTN-S 27,931).

A small CNN makes a heat map, its centroid is the origin, the image is sampled on a log-polar grid about it, and a CNN
that wraps around the angles classifies: convolutions 3x3 with bias, BatchNorm, ReLU; the last one goes to the classes
and is averaged over the polar image. A rotation about the origin rolls the rows, and the average does not see that.

What is exact: a quarter turn rolls n rows by n / 4, and a layer of stride 2 passes on a roll by an even number. So
with a centred origin the logits keep quarter turns to rounding if 4 times the product of the strides divides the rows:
16 for B, 8 for S. The published 28 rows do not: of B they keep nothing, of S half turns.

What is learned: the predictor is an ordinary CNN. It is not equivariant to rotations, so the origin turns with the
image only as far as training makes it. Its first layer has stride 2, and on 28 pixels looks at pixels 0, 2, ..., 26,
which are not centred (the grid rule). The origin is right all the same; a fresh predictor, whose heat map is the same
everywhere, gives (-1/2, 1/2) on 28 pixels and the centre on 29.
"""

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.nn.checks import require_maps
from pdoconv.nn.polar import LogPolar, PolarConv2d, centroid

WIDTHS = {"B": (16, 16, 32, 32, 32, 64, 64, 64), "S": (20, 20, 20, 20, 20, 20)}
STRIDES = {"B": (1, 1, 2, 1, 1, 2, 1, 1), "S": (1, 2, 1, 1, 1, 1)}
PREDICTOR_STRIDE = 2


class PolarTransformer(nn.Module):
    """Predict the origin, sample about it, classify: images `(batch, 1, height, width)` to `(batch, classes)`.

    Args:
        predictor: Module from images to `(batch, 1, ceil(height / 2), ceil(width / 2))`, whose softplus is the heat
            map; `None`: the origin is the centre of the image.
        polar: The polar grid.
        classifier: Module from polar images to logits.
        jitter: In training the origin is moved by uniform noise of up to so many pixels along x and y.

    Raises:
        ValueError: If `jitter` is negative, or an input has another shape.
    """

    def __init__(self, predictor: nn.Module | None, polar: LogPolar, classifier: nn.Module, jitter: float) -> None:
        """Keep the parts."""
        super().__init__()
        if not 0 <= jitter < float("inf"):
            raise ValueError(f"PolarTransformer: jitter must be >= 0 pixels, received {jitter}.")
        self.predictor, self.polar, self.classifier, self.jitter = predictor, polar, classifier, jitter

    def origin(self, x: Tensor) -> Tensor:
        """Return the origin `(batch, 2)` in pixels from the centre of the image, x to the right and y up."""
        if self.predictor is None:
            origin = x.new_zeros(x.shape[0], 2)
        else:
            size = cast(tuple[int, int], tuple(x.shape[2:]))
            origin = centroid(F.softplus(self.predictor(x)), stride=PREDICTOR_STRIDE, size=size)
        if self.training and self.jitter:
            origin = origin + self.jitter * (2 * torch.rand_like(origin) - 1)
        return origin

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, 1, height, width)` to logits `(batch, classes)`."""
        require_maps("PolarTransformer", x, 1)
        return cast(Tensor, self.classifier(self.polar(x, self.origin(x))))

    def extra_repr(self) -> str:
        """Print the jitter."""
        return f"jitter={self.jitter}"


def ptn(
    *,
    variant: Literal["B", "S"] = "B",
    classes: int = 10,
    predictor: bool = True,
    jitter: float = 0.0,
    polar_size: int = 28,
) -> PolarTransformer:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        variant: Classifier, `"B"` (eight layers) or `"S"` (six).
        classes: Number of classes.
        predictor: Predict the origin; otherwise it is the centre of the image (the paper's PCNN).
        jitter: In training the origin is moved by uniform noise of up to so many pixels along x and y; the
            authors' code has 2 (its setting, 4, counts half pixels).
        polar_size: Rows and columns of the polar image. The authors take 28; 32 keeps quarter turns exact about a
            centred origin.

    Raises:
        ValueError: If an argument is out of range.

    >>> sum(p.numel() for p in ptn().parameters())
    131959
    >>> sum(p.numel() for p in ptn(predictor=False).parameters())
    124378
    >>> sum(p.numel() for p in ptn(variant="S").parameters())
    27931
    """
    if variant not in WIDTHS:
        raise ValueError(f"ptn: variant must be 'B' or 'S', received {variant!r}.")
    layers: list[nn.Module] = []
    incoming = 1
    for width, stride in zip(WIDTHS[variant], STRIDES[variant], strict=True):
        layers += _block(PolarConv2d(incoming, width, stride=stride))
        incoming = width
    last = PolarConv2d(incoming, classes)
    nn.init.xavier_uniform_(last.weight)
    nn.init.zeros_(cast(Tensor, last.bias))
    classifier = nn.Sequential(*layers, last, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return PolarTransformer(_predictor() if predictor else None, LogPolar(polar_size), classifier, jitter)


def _predictor() -> nn.Sequential:
    """Return the origin predictor; its head starts with the same heat everywhere."""
    head = nn.Conv2d(20, 1, 1)
    nn.init.zeros_(head.weight)
    nn.init.ones_(cast(Tensor, head.bias))
    first = nn.Conv2d(1, 20, 3, stride=PREDICTOR_STRIDE, padding=1)
    others = [nn.Conv2d(20, 20, 3, padding=1) for _ in range(2)]
    return nn.Sequential(*_block(first), *_block(others[0]), *_block(others[1]), head)


def _block(conv: nn.Conv2d) -> list[nn.Module]:
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    nn.init.zeros_(cast(Tensor, conv.bias))
    return [conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU()]
