"""From a trained network to what is shipped: ordinary torch layers, ONNX files, bfloat16 and int8."""

from pdoconv.export.fold import export as export
from pdoconv.export.onnx_file import OnnxFile as OnnxFile
from pdoconv.export.onnx_file import to_onnx as to_onnx
from pdoconv.export.precision import Smaller as Smaller
from pdoconv.export.precision import bfloat16_onnx as bfloat16_onnx
from pdoconv.export.precision import quantise_onnx as quantise_onnx
