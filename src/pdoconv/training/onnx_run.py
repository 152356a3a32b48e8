"""Write a finished run as ONNX file."""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.recipes import Recipe
from pdoconv.training.folder import RunFolder

PRECISIONS = ("float32", "bfloat16", "int8")
CALIBRATION = 256
"""Training images that the ranges of maps are taken from."""


def onnx_run(folder: RunFolder, file: Path, precision: str = "float32") -> list[str]:
    """Write the network of a run; return lines that say what was written and what its inputs are.

    Args:
        folder: The run.
        file: File to write.
        precision: `"float32"`; `"bfloat16"`: weights in bfloat16; `"int8"`: quantised, with ranges measured on training
            images.

    Raises:
        FileNotFoundError: If the run has no trained model yet, or the folder of the file does not exist.
        ValueError: If `precision` is unknown, or the network cannot be written.
    """
    from pdoconv.export import bfloat16_onnx, quantise_onnx, to_onnx

    if precision not in PRECISIONS:
        raise ValueError(f"--precision must be one of {', '.join(PRECISIONS)}, received {precision!r}.")
    _, settings = folder.read_config()
    net, mean, std = folder.load_model()
    shape = (settings.channels, *settings.image_shape)
    lines = []
    if precision == "float32":
        written = to_onnx(net, file, (1, *shape))
    else:
        images = calibration_images(settings, mean, std)
        lower = quantise_onnx if precision == "int8" else bfloat16_onnx
        with tempfile.TemporaryDirectory() as temporary:
            source = Path(temporary) / "float32.onnx"
            written = to_onnx(net, source, (1, *shape))
            size, difference = lower(source, file, images)
            lines.append(
                f"In {precision} {source.stat().st_size:,} bytes became {size:,}; outputs on {len(images)} training "
                f"images changed by {difference:.2%} of their size."
            )
    mean_text, std_text = (", ".join(f"{value:.4f}" for value in v.flatten().tolist()) for v in (mean, std))
    return [
        f"ONNX model: {file}. Inputs: (batch, {', '.join(map(str, shape))}), (pixel - mean) / std of each channel, "
        f"mean {mean_text}, std {std_text}.",
        written.note or "Images of other sizes will do.",
        *lines,
    ]


def calibration_images(settings: Recipe, mean: Tensor, std: Tensor) -> NDArray[np.float32]:
    """Return up to `CALIBRATION` training images, evenly chosen, as the network sees them."""
    training, _ = settings.splits(settings.data())
    images = training.images[:: -(-len(training.images) // CALIBRATION)].astype(np.float32)
    stacked = images if settings.channels > 1 else images[:, None]
    standardised: NDArray[np.float32] = ((stacked - mean.numpy()) / std.numpy()).astype(np.float32)
    return standardised
