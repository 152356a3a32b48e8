"""The playground's two classifiers of handwritten digits: one invariant by its making, one ordinary; and its pictures.

Both have as many parameters, layers and steps of down-sampling. They take pictures `(batch, 1, 36, 36)` of white
strokes on black in [0, 1], and give logits, the feature maps behind the first block and those behind the last.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pdoconv.export import export
from pdoconv.export.helpers import quiet, session, write
from pdoconv.fields import FieldType
from pdoconv.models.inputs import Normalise
from pdoconv.nn import BatchNorm2d, BlurPool2d, GroupPool, PDOConv2d, Sequential
from pdoconv.pointgroups import cyclic

SIDE, DIGIT = 36, 28  # of a picture, and of the digit that lies in its middle
FINE = 8  # how much finer the grid is on which a picture is turned
OPSET = 18
ANGLES = tuple(range(0, 360, 5))
OUTPUTS = ("logits", "first", "last")
GROUP = cyclic(8)
FIELDS, LAST, HEAD = 6, 16, 48
CHANNELS, LAST_CHANNELS = 14, 20  # of the ordinary network: as many parameters
ACTIVATION = nn.SiLU  # smooth: a kink makes frequencies that the grid cannot carry
SCALE = 0.3  # about the standard deviation of the pixels; black stays zero


class Classifier(nn.Module):
    """A network in three parts, whose feature maps can be seen.

    Args:
        first: The first block: pictures to maps `(batch, channels, 37, 37)`.
        middle: The blocks after it, to maps `(batch, channels, 10, 10)`.
        head: From these to logits.
    """

    def __init__(self, first: nn.Module, middle: nn.Module, head: nn.Module) -> None:
        """Keep the parts."""
        super().__init__()
        self.first, self.middle, self.head = first, middle, head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map pictures `(batch, 1, 36, 36)` to logits, first and last feature maps."""
        first = self.first(x)
        last = self.middle(first)
        return self.head(last), first, last


def equivariant() -> Classifier:
    """Return the network that is invariant by its making: layers of C8, pooling over the group, mean over the plane.

    Borders are continued, not filled with zeros: a black frame stays an even ground in every layer, and the square is
    not seen. The grid is made coarser behind a round blur alone, on sides that keep quarter turns exact: 37, 19, 10.
    """
    image, hidden, last = GROUP.trivial(1), GROUP.regular(FIELDS), GROUP.regular(LAST)

    def convolution(of: FieldType, to: FieldType, size: int = 5) -> list[nn.Module]:
        layer = PDOConv2d(of, to, size, padding=size // 2, padding_mode="replicate", bias=False)
        return [layer, BatchNorm2d(to), ACTIVATION()]

    return _classifier(Sequential, convolution, image, hidden, last, Sequential(GroupPool(last), *_head(LAST)))


def plain() -> Classifier:
    """Return an ordinary network of the same depth and down-sampling, and as many parameters."""
    image, hidden, last = (cyclic(1).trivial(n) for n in (1, CHANNELS, LAST_CHANNELS))

    def convolution(of: FieldType, to: FieldType, size: int = 5) -> list[nn.Module]:
        layer = nn.Conv2d(of.channels, to.channels, size, padding=size // 2, padding_mode="replicate", bias=False)
        return [layer, nn.BatchNorm2d(to.channels), ACTIVATION()]

    return _classifier(nn.Sequential, convolution, image, hidden, last, nn.Sequential(*_head(LAST_CHANNELS)))


def _classifier(
    sequential: type[nn.Sequential],
    convolution: Callable[..., list[nn.Module]],
    image: FieldType,
    hidden: FieldType,
    last: FieldType,
    head: nn.Module,
) -> Classifier:
    """Return a network of the depth and the down-sampling that both have."""
    return Classifier(
        sequential(Normalise([0.0], [SCALE]), *convolution(image, hidden, 6)),
        sequential(
            BlurPool2d(hidden),
            *convolution(hidden, hidden),
            *convolution(hidden, hidden),
            BlurPool2d(hidden),
            *convolution(hidden, last),
        ),
        head,
    )


def _head(channels: int) -> list[nn.Module]:
    pointwise = nn.Conv2d(channels, HEAD, 1, bias=False)
    return [pointwise, nn.BatchNorm2d(HEAD), ACTIVATION(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(HEAD, 10)]


NETWORKS = {"equivariant": equivariant, "plain": plain}
"""Names and makers."""


def turned(
    digit: NDArray[np.uint8], degrees: float = 0.0, *, shift: tuple[float, float] = (0.0, 0.0), scale: float = 1.0
) -> NDArray[np.float32]:
    """Return a digit turned counter-clockwise as displayed, as the page makes it: `(36, 36)` in [0, 1].

    It is turned on a grid eight times as fine: 28 x 28 pixels are interpolated (bicubic) to 224 x 224, laid into the
    middle of 288 x 288, turned about the centre (bilinear), and averaged over squares of 8 x 8.

    Args:
        digit: `(28, 28)`, white on black.
        degrees: Angle.
        shift: To the right and up, in pixels.
        scale: Size.

    Raises:
        ValueError: If the digit has another shape or dtype.
    """
    from PIL import Image

    if digit.shape != (DIGIT, DIGIT) or digit.dtype != np.uint8:
        raise ValueError(f"turned: expected a digit (28, 28) of uint8, received {digit.shape} of {digit.dtype}.")
    side, whole = round(DIGIT * FINE * scale), SIDE * FINE
    fine = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    sheet = Image.new("L", (whole, whole))
    sheet.paste(fine, (round((whole - side) / 2 + FINE * shift[0]), round((whole - side) / 2 - FINE * shift[1])))
    pixels = np.asarray(sheet.rotate(degrees, Image.Resampling.BILINEAR))
    lines = pixels.reshape(SIDE, FINE, whole).sum(1, dtype=np.uint16)
    sums = lines.reshape(SIDE, SIDE, FINE).sum(2, dtype=np.uint16)  # 64 * 255 at most: exact
    averaged: NDArray[np.float32] = sums / np.float32(255 * FINE**2)
    return averaged


def write_classifier(net: Classifier, path: Path) -> float:
    """Write a network as ONNX file with input `x` and outputs `logits`, `first`, `last`.

    Returns:
        The largest difference of an output in onnxruntime, relative to the largest value in torch.
    """
    x = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return write_onnx(export(net), path, {"x": x}, OUTPUTS)


def write_onnx(
    module: nn.Module,
    path: Path,
    inputs: dict[str, Tensor],
    outputs: tuple[str, ...],
    free: dict[str, dict[int, str]] | None = None,
) -> float:
    """Write a module as ONNX file; return the largest relative difference to onnxruntime's outputs.

    Args:
        module: Ordinary torch layers, in eval mode.
        path: File to write, replaced if the comparison is passed.
        inputs: By name, as the module takes them.
        outputs: Names.
        free: Axes that may have any length, with names, by input.

    Raises:
        ValueError: If an output differs by more than 1e-4 of its largest value.
    """
    axes = tuple({axis: torch.export.Dim.DYNAMIC for axis in (free or {}).get(name, {})} for name in inputs)
    names = tuple((free or {}).get(name, {}) for name in inputs)
    with quiet(), torch.no_grad():
        expected = module(*inputs.values())
        program = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=axes)
        made = torch.onnx.export(
            program,
            tuple(inputs.values()),
            dynamo=True,
            dynamic_shapes=names,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert made is not None
    model = made.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.value_info, *model.functions):
        part.ClearField("metadata_props")  # where the exporter was, in which file and line
    content = model.SerializeToString()
    found = session(content).run(list(outputs), {name: value.numpy() for name, value in inputs.items()})
    wanted = [expected] if isinstance(expected, Tensor) else [*expected]
    error = max(_difference(a, b.numpy()) for a, b in zip(found, wanted, strict=True))
    if not error < 1e-4:
        raise ValueError(f"write_onnx: {path.name} differs from torch by {error:.2g} of the largest value.")
    write(path, content)
    return error


def _difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())
