r"""Equivariance error of any module, without interpolation.

The law is `module(act(A, x)) == act(A, module(x))`. For symmetries of the pixel lattice both sides are computed exactly
on random maps. For other motions a function of continuous position is sampled once on the grid and once on the grid
turned about the place of an output pixel; the two outputs must agree in that pixel, up to the action on the channels.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.grid import Matrix, axis_of, is_lattice_symmetry, move
from pdoconv.groups import rotation as rotation_matrix
from pdoconv.measure.functions import Points, from_images, grid_points, random_waves

BATCH = 64


def equivariance_error(
    module: nn.Module,
    rotation: float | Matrix = 90.0,
    *,
    reflection: bool = False,
    size: int | None = None,
    frequency: float = 0.4,
    samples: int = 16,
    smooth: bool = False,
    images: Tensor | None = None,
    at: str | None = None,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    seed: int = 0,
) -> float:
    r"""Return the error $\lVert M(Ax) - A\,M(x) \rVert / \lVert M(x) \rVert$ of a module M, in eval mode.

    $A = R(\mathrm{rotation})\, m^{\mathrm{reflection}}$. For lattice symmetries `x` is white noise, and whole outputs
    are compared. For other motions `x` is a sum of eight plane waves with frequencies up to `frequency` under a
    Gaussian window of width size / 7, turned about the place of an output pixel next to the centre, and the outputs are
    compared in that pixel. Outputs `(batch, features)` are taken as invariant unless `out_type` says otherwise.

    Args:
        module: Any module that takes `(batch, channels, *space)`.
        rotation: Angle in degrees, counter-clockwise (in space about z), or an orthogonal matrix.
        reflection: Reflect (y to -y; on the line x to -x) first.
        size: Side of the input; default that of the example of a converted network, otherwise 33. Give the side of
            your own images where the module has strides: it may be exact on some sides only.
        frequency: Highest frequency of the smooth input, radians per pixel, at most pi.
        samples: Number of random inputs.
        smooth: Use the smooth inputs for lattice symmetries too, as for a curve over all angles.
        images: Use these `(samples, channels, side, ...)` instead of random functions of `size`, blurred by a Gaussian
            of width 1 so that they can be sampled anywhere.
        at: Measure the output of the submodule of this name instead of the module's.
        in_type: Type of the input; default the first `in_type` found in the module.
        out_type: Type of the output; default that of the submodule `at`, or the last `out_type` found in the module.
        seed: Of the random inputs.

    Raises:
        ValueError: If an argument is out of range, no types are known, a field is turned by something outside its
            group, or an output is not finite.
    """
    size = (getattr(module, "example_side", None) or 33) if size is None else size
    if size < 1 or samples < 1 or not 0 < frequency <= math.pi:
        raise ValueError(
            f"Expected size >= 1, samples >= 1 and a frequency in (0, pi] radians per pixel; received {size}, "
            f"{samples}, {frequency}."
        )
    if at and at not in dict(module.named_modules()):
        raise ValueError(f"at={at!r}: the module has no submodule of that name; see module.named_modules().")
    end = module.get_submodule(at) if at else module
    out_type = out_type or getattr(end, "out_type", None)
    said = out_type is not None
    in_type, out_type = _types(module, at, in_type, out_type)
    dim = in_type.group.dim
    matrix = motion(rotation, reflection, dim)
    exact = is_lattice_symmetry(matrix) and not smooth and images is None
    in_type.matrix(matrix)  # says early what cannot be moved
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))

    def output(x: Tensor) -> Tensor:
        y = _run(module, x.to(like), at).double()
        if not torch.isfinite(y).all():
            raise ValueError("The module's output is not finite: check its weights and statistics.")
        return y

    if exact:
        stream = torch.Generator().manual_seed(seed)
        x = torch.randn(samples, in_type.channels, *(size,) * dim, generator=stream, dtype=torch.float64)
        plain, turned = output(x), output(in_type.mix(move(x, matrix), matrix))
    else:
        if images is None:
            function = random_waves(samples, in_type.channels, dim, frequency=frequency, width=size / 7, seed=seed)
        else:
            function, size = from_images(images), images.shape[-1]
        points = grid_points(size, dim)

        def picture(places: Points) -> Tensor:
            values = function(places)
            return values.reshape(*values.shape[:2], *(size,) * dim)

        plain = output(picture(points))
        place = _place(lambda places: output(picture(places)), plain, points, size)
        origin = place if images is None else 0 * place  # random functions are centred on the place
        if origin.any():
            plain = output(picture(points - origin))
        turned = output(in_type.mix(picture((points - place) @ matrix + place - origin), matrix))
    has_space = plain.dim() == dim + 2
    if (said or has_space) and plain.shape[1] != out_type.channels:
        raise ValueError(f"Expected {out_type.channels} output channels for {out_type}, received {plain.shape[1]}.")
    if has_space and not exact:
        plain, turned = _pixel(plain), _pixel(turned)
    if has_space or said:
        plain = out_type.mix(plain, matrix)
    if has_space and exact:
        plain = move(plain, matrix)
    scale = float(plain.norm())
    return float((plain - turned).norm()) / scale if scale else float(turned.norm())


def motion(rotation: float | Matrix, reflection: bool, dim: int) -> Matrix:
    """Return the orthogonal matrix of a rotation in degrees (in space about z) or a matrix, after a reflection."""
    if isinstance(rotation, np.ndarray):
        matrix = np.asarray(rotation, dtype=np.float64)
        if matrix.shape != (dim, dim) or not np.allclose(matrix @ matrix.T, np.eye(dim), atol=1e-9):
            raise ValueError(f"rotation: expected degrees or an orthogonal {dim} x {dim} matrix, received {rotation}.")
    elif dim == 1:
        if not reflection:
            raise ValueError("On the line there are no rotations: measure with reflection=True.")
        matrix = np.eye(1)
    else:
        if not math.isfinite(rotation):
            raise ValueError(f"rotation: expected a finite angle in degrees, received {rotation}.")
        matrix = np.eye(dim)
        matrix[:2, :2] = rotation_matrix(math.radians(rotation % 360))
    if reflection:
        matrix = matrix @ np.diag([-1.0 if i == min(1, dim - 1) else 1.0 for i in range(dim)])
    return np.rint(matrix) if is_lattice_symmetry(matrix) else matrix


def _place(output: Callable[[Points], Tensor], y: Tensor, points: Points, size: int) -> Points:
    """Return the position, in the input, of the output pixel that is measured: the one next to the centre.

    Output pixels lie symmetrically about the centre of the input, one step apart. Where a side is even the step
    counts: it is the translation of the input that moves the output by one pixel.
    """
    dim = points.shape[1]
    if y.dim() != dim + 2:
        return np.zeros(dim)
    signs = np.array([axis_of(i)[1] for i in range(dim)])
    even = np.array([y.shape[axis_of(i)[0]] % 2 == 0 for i in range(dim)])
    if not even.any():
        return np.zeros(dim)
    errors = {}
    for step in range(1, size // min(y.shape[2:]) + 2):
        moved = output(points + step * signs)
        errors[step] = float((_pixel(moved, -1) - _pixel(y)).norm())
    return np.where(even, signs * min(errors, key=lambda step: errors[step]) / 2, 0.0)


def _pixel(y: Tensor, step: int = 0) -> Tensor:
    """Return the values `(batch, channels)` in the middle of the maps, after the middle where a side is even."""
    for n in reversed(y.shape[2:]):
        y = y.select(-1, n // 2 + step)
    return y


def _run(module: nn.Module, x: Tensor, at: str | None) -> Tensor:
    """Run in eval mode, in pieces of the batch; return the output of the module or of its submodule `at`."""
    caught: list[Tensor] = []
    target = module.get_submodule(at) if at else module
    handle = target.register_forward_hook(lambda _, __, y: caught.append(y))
    try:
        with eval_mode(module), torch.no_grad():
            for piece in torch.split(x, BATCH):
                module(piece)
    finally:
        handle.remove()
    return torch.cat(caught)


def _types(
    module: nn.Module, at: str | None, first: FieldType | None, last: FieldType | None
) -> tuple[FieldType, FieldType]:
    for part in module.modules():
        first = first or getattr(part, "in_type", None)
    if last is None:
        outs = [t for part in module.modules() if (t := getattr(part, "out_type", None)) is not None]
        last = outs[-1] if outs and not at else None
    if first is None or last is None:
        raise ValueError(
            "The module has no field types: pass them, such as in_type=cyclic(8).trivial(3) and "
            "out_type=cyclic(8).trivial(10)."
        )
    return first, last


@contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Switch to eval mode and restore each submodule's own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
