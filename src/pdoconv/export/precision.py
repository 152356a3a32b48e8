"""Smaller ONNX files: whole numbers of 8 bits, or weights in bfloat16.

A quantised convolution adds whole numbers, which is exact in any order. Kernels of elements that differ by a quarter
turn hold the same numbers in other places, so they get the same scales, and the law holds without any error: an int8
network turns its features along to the last bit (unless a weight lies within rounding of the middle between two
steps). Weights take 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which overflow with 8,
and then features do not turn along.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pdoconv.export.helpers import first_line, quiet, require_target, session, write
from pdoconv.progress import progress

BATCH = 32
LIMITS = {"int8": 0.5, "bfloat16": 0.1}  # of the outputs' size: beyond it something went wrong
Images = NDArray[np.float32]


class Smaller(NamedTuple):
    """What was written.

    Attributes:
        bytes: Size of the file.
        difference: Root mean square of the outputs' changes on the images, relative to that of the outputs.
    """

    bytes: int
    difference: float


def quantise_onnx(source: Path, target: Path, images: ArrayLike) -> Smaller:
    """Write an ONNX file that computes in whole numbers of 8 bits, from one in float32, by onnxruntime's quantisation.

    Scales of weights are by channel, those of maps from the range that they have on the images (static quantisation,
    QDQ format). Its outputs on the images are compared with those of the source.

    Args:
        source: File in float32, such as `to_onnx` writes; it stays as it is.
        target: File to write; its folder must exist.
        images: Some hundred inputs of the kind the network will see, prepared for it, `(n, channels, *space)`.

    Raises:
        FileNotFoundError: If the source or the folder of the target does not exist.
        ValueError: If the source is not such a file, the images do not fit, or the outputs are far off.
    """
    model, x = _read(source, target, images)
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        """The images in batches."""

        def __init__(self) -> None:
            self.parts = iter(progress(_parts(x), total=-(-len(x) // BATCH), title="Ranges of the maps"))

        def get_next(self) -> dict[str, Images] | None:
            part = next(self.parts, None)
            return None if part is None else {"x": part}

    with tempfile.TemporaryDirectory() as folder, quiet():
        prepared, made = Path(folder) / "prepared.onnx", Path(folder) / "made.onnx"
        try:
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(made),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        except Exception as error:  # onnxruntime's kinds have no base of their own
            raise ValueError(f"{source} could not be quantised: {first_line(error)}. Nothing was written.") from error
        content = made.read_bytes()
    return _written(model, content, target, x, "int8")


def bfloat16_onnx(source: Path, target: Path, images: ArrayLike) -> Smaller:
    """Write an ONNX file with weights in bfloat16, about half as large, that computes in float32.

    Few processors and no CPU kernel of onnxruntime compute in bfloat16; `export(net).bfloat16()` does so in torch.

    Args:
        source: File in float32, such as `to_onnx` writes; it stays as it is.
        target: File to write; its folder must exist.
        images: Inputs on which the outputs are compared, `(n, channels, *space)`; random ones will do.

    Raises:
        FileNotFoundError: If the source or the folder of the target does not exist.
        ValueError: If the source is not such a file, the images do not fit, or the outputs are far off.
    """
    model, x = _read(source, target, images)
    import onnx

    proto = onnx.load_from_string(model)
    casts = []
    for weight in proto.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or len(weight.dims) < 2:
            continue
        values = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()).bfloat16()
        name = f"{weight.name}_bfloat16"
        small = onnx.TensorProto(name=name, data_type=onnx.TensorProto.BFLOAT16, dims=weight.dims)
        small.raw_data = values.view(torch.int16).numpy().tobytes()
        casts.append(onnx.helper.make_node("Cast", [name], [weight.name], to=onnx.TensorProto.FLOAT))
        weight.CopyFrom(small)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return _written(model, proto.SerializeToString(), target, x, "bfloat16")


def _read(source: Path, target: Path, images: ArrayLike) -> tuple[bytes, Images]:
    """Return the model and the images; an error unless they fit each other and a file can be made."""
    import onnx

    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist: write it with to_onnx first.")
    require_target(target)
    if target.exists() and target.samefile(source):
        raise ValueError(f"Source and target are the same file, {source}: name another target.")
    model = source.read_bytes()
    try:
        graph = onnx.load_from_string(model).graph
        (x,) = graph.input
        tensor = x.type.tensor_type
        axes = [axis.dim_value or axis.dim_param for axis in tensor.shape.dim]
        used = {node.op_type for node in graph.node}
    except Exception as error:  # of protobuf, many kinds
        raise ValueError(f"{source} is not an ONNX file with one input: {first_line(error)}.") from error
    if tensor.elem_type != onnx.TensorProto.FLOAT or x.name != "x" or "DequantizeLinear" in used:
        raise ValueError(f"{source} is not a network in float32 as to_onnx writes it: export the network again.")
    array = np.ascontiguousarray(images, dtype=np.float32)
    fits = array.ndim == len(axes) and len(array) > 0
    if not fits or any(isinstance(a, int) and a != n for a, n in zip(axes[1:], array.shape[1:], strict=True)):
        raise ValueError(f"Expected images {tuple(axes)} for {source}, received {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError("The images hold values that are not finite: clean the data first.")
    return model, array


def _parts(images: Images) -> Iterator[Images]:
    for start in range(0, len(images), BATCH):
        yield images[start : start + BATCH]


def _written(model: bytes, content: bytes, target: Path, images: Images, kind: str) -> Smaller:
    """Compare a model with the one it was made from, and write it."""
    try:
        sessions: list[Any] = [session(model), session(content)]
        change = size = 0.0
        for part in progress(_parts(images), total=-(-len(images) // BATCH), title=f"Outputs in {kind}"):
            before, after = (s.run(None, {"x": part})[0].astype(np.float64) for s in sessions)
            change, size = change + float(np.square(after - before).sum()), size + float(np.square(before).sum())
    except Exception as error:  # onnxruntime's kinds have no base of their own
        raise ValueError(f"onnxruntime says: {first_line(error)}. Nothing was written.") from error
    difference = (change / size) ** 0.5 if size else change
    if not difference < LIMITS[kind]:
        raise ValueError(
            f"Outputs in {kind} differ by {difference:.0%} of their size: nothing was written. Give images as the "
            f"network will see them, prepared for it."
        )
    write(target, content)
    return Smaller(len(content), difference)
