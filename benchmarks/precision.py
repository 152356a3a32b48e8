"""What inference in lower precision costs, and what it saves: test error, speed, size and symmetry of trained runs.

    python benchmarks/precision.py RUN [RUN ...] [--images 10000]

Each run's network as `pdo.export` makes it in torch, and as ONNX files in onnxruntime: float32, weights in bfloat16,
and int8 with ranges from 256 training images. Speeds are ratios to float32 in torch, measured in turns with as many
threads. bfloat16 in torch is slow on processors without instructions for it, so there its errors are those of a
computation in float32 whose every result is rounded to bfloat16, which is what such instructions do; a few images are
computed both ways. Symmetry: features in front of the classifier, of an image and of the image turned by 90 degrees.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import alternate, ratio
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from pdoconv import export
from pdoconv.export import bfloat16_onnx, quantise_onnx, to_onnx
from pdoconv.fields import FieldType
from pdoconv.grid import move
from pdoconv.progress import progress
from pdoconv.training.folder import RunFolder, write_json
from pdoconv.training.onnx_run import calibration_images
from pdoconv.training.provenance import provenance

BATCH, FEW = 50, 4
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])
BASE = "float32, torch"
Call = Callable[[Tensor], Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=10_000, help="of the test set, evenly chosen")
    parser.add_argument("--seconds", type=float, default=8, help="for the speeds of each network")
    parser.add_argument("--result", type=Path, default=Path("results/precision.json"))
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    rows = [measured(run, asked.images, asked.seconds) for run in asked.runs]
    for row in rows:
        print(f"\n{row['run']}: {row['parameters']:,} parameters, {row['images']:,} test images")
        for name, found in row["precisions"].items():
            print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in found.items()))
    write_json(asked.result, {"rows": rows, "load_before": load, **provenance()})


def measured(run: Path, count: int, seconds: float) -> dict[str, Any]:
    """Return everything about one run."""
    folder = RunFolder(run)
    recipe, settings = folder.read_config()
    net, mean, std = folder.load_model()
    data = settings.data()
    chosen = np.linspace(0, len(data.test.images) - 1, min(count, len(data.test.images))).astype(int)
    images, labels = data.test.images[chosen].astype(np.float32), torch.from_numpy(data.test.labels[chosen].astype(int))
    stacked = torch.from_numpy(images if settings.channels > 1 else images[:, None])
    x = ((stacked - mean) / std).float()
    known = calibration_images(settings, mean, std)
    with tempfile.TemporaryDirectory() as temporary, torch.inference_mode():
        calls, sizes = variants(net, Path(temporary), x, known)
        few = x[:FEW]
        times = alternate(
            {name: (lambda call=call: call(x[:BATCH])) for name, call in calls.items() if "torch" not in name}
            | {BASE: lambda: calls[BASE](x[:BATCH])},
            title=f"{run}, speed",
            seconds=seconds,
        )
        slow = alternate(
            {name: (lambda call=call: call(few)) for name, call in calls.items() if "torch" in name},
            title=f"{run}, speed of {FEW}",
            seconds=seconds / 2,
            least=3,
            warm_up=1,
        )
        rounded = Rounded(net)
        accurate = {**calls, "bfloat16, torch": rounded}
        outputs = {name: over(call, x, f"{name}, test") for name, call in accurate.items()}
        symmetry = {name: round_off(value) for name, value in turned(net, Path(temporary), x, known).items()}
        agree = float((calls["bfloat16, torch"](few) - rounded(few)).abs().max() / rounded(few).abs().max())
    base, found = outputs[BASE], {}
    for name, output in outputs.items():
        spent = slow if name == "bfloat16, torch" else times
        batch = FEW if name == "bfloat16, torch" else BATCH
        found[name] = {
            "test_error_percent": round(100 * float((output.argmax(1) != labels).float().mean()), 3),
            "same_class_percent": round(100 * float((output.argmax(1) == base.argmax(1)).float().mean()), 3),
            "speed": ratio(spent[BASE], spent[name])["ratio"],
            "images_per_second": round(1e3 * batch / statistics.median(spent[name]), 1),
            "bytes": sizes[name],
            "equivariance_error_90": symmetry[name],
        }
    return {
        "run": recipe,
        "parameters": sum(p.numel() for p in net.parameters()),
        "images": len(x),
        "data": data.title,
        "batch": BATCH,
        "side_of_symmetry": symmetry["side"],
        "bfloat16_of_torch_beside_rounded_float32": round_off(agree),
        "precisions": found,
    }


def variants(net: nn.Module, folder: Path, x: Tensor, known: np.ndarray) -> tuple[dict[str, Call], dict[str, int]]:
    """Return a network in every precision as functions of float32 images, and the bytes of each."""
    files = {kind: folder / f"{kind}.onnx" for kind in ("float32", "bfloat16", "int8")}
    to_onnx(net, files["float32"], (1, *x.shape[1:]))
    bfloat16_onnx(files["float32"], files["bfloat16"], known[:32])
    quantise_onnx(files["float32"], files["int8"], known)
    plain, low = export(net), export(net).bfloat16()
    calls: dict[str, Call] = {BASE: plain, "bfloat16, torch": lambda x: low(x.bfloat16()).float()}
    calls |= {f"{kind}, onnxruntime": running(file) for kind, file in files.items()}
    held = sum(t.numel() for t in [*plain.parameters(), *plain.buffers()])
    sizes = {BASE: 4 * held, "bfloat16, torch": 2 * held}
    return calls, sizes | {f"{kind}, onnxruntime": file.stat().st_size for kind, file in files.items()}


def running(file: Path) -> Call:
    """Return an ONNX file as a function, with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


class Rounded(TorchDispatchMode):
    """A network computed in float32, with weights and every result rounded to bfloat16."""

    def __init__(self, net: nn.Module) -> None:
        """Round the weights."""
        super().__init__()
        self.plain = export(net).bfloat16().float()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute and round."""
        found = func(*args, **(kwargs or {}))
        return tree_map_only(Tensor, lambda t: t.bfloat16().float() if t.dtype == torch.float32 else t, found)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the outputs."""
        with torch.no_grad(), self:
            return self.plain(x.bfloat16().float())


def over(call: Call, x: Tensor, title: str) -> Tensor:
    """Return the outputs of many images."""
    starts = range(0, len(x), BATCH)
    return torch.cat([call(x[start : start + BATCH]) for start in progress(starts, total=len(starts), title=title)])


def turned(net: nn.Module, folder: Path, x: Tensor, known: np.ndarray) -> dict[str, float]:
    """Return the largest change of turned features, relative to the largest, in every precision; and the side."""
    body, field = features(net)
    matrix = next(m for m in field.group.matrices if np.allclose(m, QUARTER))

    def error(call: Call, x: Tensor) -> float:
        y = call(x)
        return float((call(move(x, matrix)) - move(field.mix(y, matrix), matrix)).abs().max() / y.abs().max())

    for side in range(x.shape[-1], x.shape[-1] - 8, -1):  # the largest that obeys the grid rule
        if error(export(body), x[:2, :, :side, :side]) < 1e-4:
            break
    inner = folder / "features"
    inner.mkdir()
    cut = x[:FEW, :, :side, :side].contiguous()
    calls, _ = variants(body, inner, cut, known[:, :, :side, :side])
    return {name: error(call, cut) for name, call in calls.items()} | {"side": side}


def features(net: nn.Module) -> tuple[nn.Module, FieldType]:
    """Return the part of a network that is equivariant, and the type of what it returns."""
    if hasattr(net, "features"):
        body = net.features
    else:
        typed = [place for place, layer in enumerate(net) if any(hasattr(m, "out_type") for m in layer.modules())]
        body = net[: typed[-1] + 1]
    return body, next(m.out_type for m in reversed(list(body.modules())) if hasattr(m, "out_type"))


def round_off(value: float) -> float:
    return float(f"{value:.2g}")


if __name__ == "__main__":
    main()
