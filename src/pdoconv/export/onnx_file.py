"""ONNX files of networks, with any batch size and, where the network allows, any image size; checked before they are.

torch traces a network once, for sizes that stand for all. What a `forward` decides by a size, and what it computes from
one in plain numbers, is fixed by that: the file would be right for some sizes only. So every file is run in onnxruntime
at several batch and image sizes, and compared with the network itself.
"""

import copy
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves

from pdoconv.export.fold import export
from pdoconv.export.helpers import first_line, quiet, require_target, session, write
from pdoconv.progress import progress

OPSET = 25
"""The newest that torch 2.13 writes itself; newer ones go through a converter of ONNX."""
NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}
BATCHES = (1, 5)  # beside the 2 of the example
STEPS = (1, 2, 4, 8, 16, 32)
CLOSE = 1e-4  # of the largest output
LARGE = 10**6  # no side is, so a limit beyond it is none


class OnnxFile(NamedTuple):
    """What was written.

    Attributes:
        shape: Of the input `x`: numbers where it is fixed, names where it is free.
        opset: Version of ONNX's operators.
        note: What is to be known of the sizes, empty if any will do.
    """

    shape: tuple[int | str, ...]
    opset: int
    note: str


class _UnfitError(Exception):
    """A traced network that is not right for the sizes it is wanted for."""


def to_onnx(
    net: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    *,
    sizes: Literal["free", "fixed"] | None = None,
    opset: int = OPSET,
) -> OnnxFile:
    """Write a network as ONNX file, BatchNorm folded, input `x`, output `y`; first check it in onnxruntime.

    The batch size is free. So is the image size, unless the network reads one size, as it does with a linear layer over
    all pixels or with a domain: then the file is for the size in `shape`, and the note says why. A U-Net takes sizes in
    steps; the note names the step. Outputs are compared with those of `net.eval()` at three batch sizes, and at two
    more image sizes.

    Args:
        net: The network; it stays as it is.
        path: File to write; its folder must exist. A file of that name is replaced, once the new one has passed.
        shape: Shape of an input, `(1, channels, *space)`.
        sizes: `"free"`: image sizes must be free; `"fixed"`: they are those of `shape`; `None`: free where possible.
        opset: Version of ONNX's operators, 18 to 25; a smaller one for an onnxruntime older than 1.24.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If an argument is out of range, the network cannot be traced, or outputs differ from torch's.
    """
    import onnxruntime  # noqa: F401  # if it is missing, say so before anything is computed

    _check(path, shape, sizes, opset)
    reference, plain = copy.deepcopy(net).eval().cpu(), export(net).cpu()
    axes: tuple[int | str, ...] = ("batch", *shape[1:])
    note = ""
    if sizes != "fixed":
        free: tuple[int | str, ...] = ("batch", shape[1], *NAMES[len(shape) - 2])
        try:
            model, note = _model(reference, plain, shape, free, opset, f"ONNX file {path.name}")
            write(path, model.SerializeToString())
            return OnnxFile(free, opset, note)
        except _UnfitError as error:
            if sizes == "free":
                raise ValueError(
                    f"to_onnx: the image size cannot be free: {error} Nothing was written: use sizes='fixed'."
                ) from error
            note = f"The image size is fixed to {' x '.join(map(str, shape[2:]))}: {error}"
    try:
        model, _ = _model(reference, plain, shape, axes, opset, f"ONNX file {path.name}, fixed size")
    except _UnfitError as error:
        raise ValueError(f"to_onnx: {error} Nothing was written.") from error
    model.doc_string = note
    write(path, model.SerializeToString())
    return OnnxFile(axes, opset, note)


def _check(path: Path, shape: tuple[int, ...], sizes: str | None, opset: int) -> None:
    require_target(path)
    if len(shape) - 2 not in NAMES or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in shape):
        raise ValueError(f"to_onnx: expected shape (1, channels, *space) of whole numbers >= 1, received {shape}.")
    if sizes not in (None, "free", "fixed"):
        raise ValueError(f"to_onnx: sizes must be 'free', 'fixed' or None, received {sizes!r}.")
    if not 18 <= opset <= OPSET:
        raise ValueError(f"to_onnx: opset must be 18 to {OPSET}, received {opset}.")


def _model(
    reference: nn.Module,
    plain: nn.Module,
    shape: tuple[int, ...],
    axes: tuple[int | str, ...],
    opset: int,
    title: str,
) -> tuple[Any, str]:
    """Return the ONNX model and a note on its sizes; `_UnfitError` if it is not right for all that `axes` promises."""
    kept = reference.state_dict().values()
    dtype = next((t.dtype for t in kept if t.is_floating_point()), torch.get_default_dtype())

    def example(batch: int, space: tuple[int, ...]) -> Tensor:
        return torch.randn(batch, shape[1], *space, generator=torch.Generator().manual_seed(0), dtype=dtype)

    names = {axis: name for axis, name in enumerate(axes) if isinstance(name, str)}
    x = example(2, shape[2:])
    stages = cast(Generator[str, None, None], progress(("traced", "written", "compared"), total=3, title=title))
    with closing(stages):
        next(stages)
        program = _traced(plain, x, names)
        next(stages)
        model = _converted(program, x, names, opset)
        next(stages)
        compare = _Comparison(reference, program, model)
        compare(x)
        for batch in BATCHES:
            compare(example(batch, shape[2:]))
        if len(names) == 1:
            return model, ""
        problem = None
        for step in STEPS:
            wider = tuple(n + step * place for place, n in enumerate(shape[2:], start=1))
            taller = (shape[2] + max(3, 12 // step) * step, *shape[3:])
            try:
                compare(example(1, wider))
                compare(example(2, taller))
            except _UnfitError as error:
                problem = problem or error  # that of the smallest step says most
                continue
            next(stages, None)
            note = f"Sides differ from {' x '.join(map(str, shape[2:]))} by multiples of {step}."
            model.doc_string = note if step > 1 else ""
            return model, model.doc_string
        raise _UnfitError(f"{problem}")


class _OneInput(nn.Module):
    """A network whose `forward` takes one tensor and returns one, whatever else it might take or pack it into."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return only_tensor(self.net(x))


def only_tensor(output: object) -> Tensor:
    """Return the tensor in an output that holds just one, in a dictionary or the like; else `_UnfitError`."""
    found = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    if len(found) != 1:
        raise _UnfitError(f"expected a network that returns one tensor, received {len(found)}.")
    return found[0]


def _traced(plain: nn.Module, x: Tensor, names: dict[int, str]) -> ExportedProgram:
    """Return torch's program of a network, with the named axes free."""
    try:
        with quiet():
            free = {axis: Dim.DYNAMIC for axis in names}
            program = torch.export.export(_OneInput(plain), (x,), dynamic_shapes=(free,))
    except _UnfitError:
        raise
    except Exception as error:  # torch raises many kinds
        raise _UnfitError(f"torch.export says: {first_line(error)}.") from error
    if any(limits.upper < LARGE for limits in program.range_constraints.values()):
        raise _UnfitError("forward decides by the size of its input.")
    return program


def _converted(program: ExportedProgram, x: Tensor, names: dict[int, str], opset: int) -> Any:
    """Return the ONNX model of a program."""
    try:
        with quiet():
            written = torch.onnx.export(
                program,
                (x,),
                dynamo=True,
                dynamic_shapes=(names,),
                input_names=["x"],
                output_names=["y"],
                opset_version=opset,
                verbose=False,
            )
    except Exception as error:  # torch and onnxscript raise many kinds
        raise _UnfitError(f"torch.onnx says: {first_line(error)}.") from error
    assert written is not None
    return written.model_proto


class _Comparison:
    """Compare the outputs of a network, of its traced program and of onnxruntime."""

    def __init__(self, reference: nn.Module, program: ExportedProgram, model: Any) -> None:
        try:
            running = session(model.SerializeToString())
        except Exception as error:  # onnxruntime's kinds have no base of their own
            raise _UnfitError(f"onnxruntime says: {first_line(error)}.") from error
        self.calls: dict[str, Callable[[Tensor], Any]] = {
            "the network": _OneInput(reference),
            "torch.export's program": program.module(),
            "onnxruntime": lambda x: torch.from_numpy(running.run(None, {"x": x.numpy()})[0]),
        }
        self.flat: int | None = None

    def __call__(self, x: Tensor) -> None:
        """Raise `_UnfitError` if an output differs from the network's, or the input is not taken."""
        outputs: list[Tensor] = []
        for name, call in self.calls.items():
            try:
                with torch.no_grad(), quiet():
                    y = call(x)
            except _UnfitError:
                raise
            except Exception as error:  # of many kinds
                raise _UnfitError(f"{name} does not take {tuple(x.shape)}: {first_line(error)}.") from error
            if outputs and not _close(y, outputs[0]):
                raise _UnfitError(f"{name} and the network have different outputs for {tuple(x.shape)}.")
            if y.dim() == 2:
                self.flat = y.shape[1] if self.flat is None else self.flat
                if y.shape[1] != self.flat:  # a network that was flattened, not one that takes any size
                    raise _UnfitError(f"of {tuple(x.shape)} it would make {y.shape[1]} numbers, not {self.flat}.")
            outputs.append(y)


def _close(y: Tensor, expected: Tensor) -> bool:
    return y.shape == expected.shape and bool((y - expected).abs().max() <= CLOSE * expected.abs().max())
