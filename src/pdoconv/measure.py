r"""Equivariance error of any module, without interpolation.

The law is `module(act(A, x)) == act(A, module(x))`. For symmetries of the pixel lattice both sides are computed
exactly on random maps. For other angles a random smooth function, known in closed form, is sampled once on the grid
and once on the turned grid, and the two outputs are compared where the grids meet: at the centre. So no interpolation
error enters.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.grid import Matrix, is_lattice_symmetry, move
from pdoconv.groups import MIRROR
from pdoconv.groups import rotation as rotation_matrix


def equivariance_error(
    module: nn.Module,
    rotation: float = 90.0,
    *,
    reflection: bool = False,
    size: int = 33,
    frequency: float = 0.4,
    samples: int = 16,
    smooth: bool = False,
    in_type: FieldType | None = None,
    out_type: FieldType | None = None,
    seed: int = 0,
) -> float:
    r"""Return the error $\lVert M(Ax) - A\,M(x) \rVert / \lVert M(x) \rVert$ of a module M, in eval mode.

    $A = R(\mathrm{rotation})\, m^{\mathrm{reflection}}$. For lattice symmetries `x` is white noise, and whole outputs
    are compared. For other angles `x` is a sum of eight plane waves with frequencies up to `frequency` under a Gaussian
    window of width size / 7, and the central pixel of the outputs is compared; outputs with an even side have none, so
    there the means over space are compared. Outputs `(batch, features)` are taken as invariant unless `out_type` says
    otherwise.

    Args:
        module: Any module that takes `(batch, channels, height, width)`.
        rotation: Angle in degrees, counter-clockwise.
        reflection: Reflect (y to -y) before rotating.
        size: Side of the input; odd sides have a centre pixel.
        frequency: Highest frequency of the smooth input, radians per pixel.
        samples: Number of random inputs.
        smooth: Use the smooth inputs for lattice symmetries too, as for a curve over all angles.
        in_type: Type of the input; default the first `in_type` found in the module.
        out_type: Type of the output; default the last `out_type` found in the module.
        seed: Of the random inputs.

    Raises:
        ValueError: If no types are known, a regular field is turned by an angle outside its group, or an output is
        not finite.
    """
    if not math.isfinite(rotation) or size < 1 or samples < 1:
        raise ValueError(
            f"Expected a finite rotation, size >= 1, samples >= 1; received {rotation}, {size}, {samples}."
        )
    said = out_type is not None
    in_type, out_type = _types(module, in_type, out_type)
    matrix = rotation_matrix(math.radians(rotation % 360))
    if reflection:
        matrix = matrix @ MIRROR
    lattice = is_lattice_symmetry(matrix)
    matrix = np.rint(matrix) if lattice else matrix
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    if lattice and not smooth:
        stream = torch.Generator().manual_seed(seed)
        x = torch.randn(samples, in_type.channels, size, size, generator=stream, dtype=torch.float64)
        moved = move(x, matrix)
    else:
        x, moved = _smooth_pair(samples, in_type.channels, size, frequency, matrix, seed)
    moved = moved[:, _permutation(in_type, matrix)]
    with _eval_mode(module), torch.no_grad():
        plain, turned = (module(t.to(like)).double() for t in (x, moved))
    if not (torch.isfinite(plain).all() and torch.isfinite(turned).all()):
        raise ValueError("The module's output is not finite: check its weights and statistics.")
    if (said or plain.dim() == 4) and plain.shape[1] != out_type.channels:
        raise ValueError(f"Expected {out_type.channels} output channels for {out_type}, received {plain.shape[1]}.")
    if plain.dim() == 4:
        plain = plain[:, _permutation(out_type, matrix)]
        plain, turned = (move(plain, matrix), turned) if lattice else (_centre(plain), _centre(turned))
    elif said:
        plain = plain[:, _permutation(out_type, matrix)]
    scale = float(plain.norm())
    return float((plain - turned).norm()) / scale if scale else float(turned.norm())


def equivariance_curve(module: nn.Module, angles: Iterable[float], **options: object) -> dict[float, float]:
    """Return the error of `equivariance_error` for each angle in degrees; the options are passed on."""
    return {angle: equivariance_error(module, angle, **options) for angle in angles}  # type: ignore[arg-type]  # passed on


def _types(module: nn.Module, first: FieldType | None, last: FieldType | None) -> tuple[FieldType, FieldType]:
    for part in module.modules():
        first = first or getattr(part, "in_type", None)
    if last is None:
        outs = [t for part in module.modules() if (t := getattr(part, "out_type", None)) is not None]
        last = getattr(module, "out_type", None) or (outs[-1] if outs else None)
    if first is None or last is None:
        raise ValueError(
            "The module has no field types: pass them, such as in_type=cyclic(8).trivial(3) and "
            "out_type=cyclic(8).trivial(10)."
        )
    return first, last


def _permutation(field: FieldType, matrix: Matrix) -> Tensor:
    if field.kind == "trivial":
        return torch.arange(field.channels)
    if field.group.find(matrix[None])[0] < 0:
        angle = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
        raise ValueError(
            f"Regular fields of {field.group} cannot be turned by {angle:g} degrees, which is no element of the group. "
            f"Use one of its angles, or measure up to a layer with trivial fields."
        )
    return torch.from_numpy(field.permutation(field.group.index(matrix)))


def _smooth_pair(
    samples: int, channels: int, size: int, frequency: float, matrix: Matrix, seed: int
) -> tuple[Tensor, Tensor]:
    """Sample random smooth functions f(p) and f(A^-1 p) on the grid."""
    rng = np.random.default_rng(seed)
    waves = (samples, channels, 8)
    radius, angle = frequency * np.sqrt(rng.uniform(size=waves)), rng.uniform(0, 2 * np.pi, waves)
    phase, height = rng.uniform(0, 2 * np.pi, waves), rng.standard_normal(waves)
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line, -line)
    window = np.exp(-(x**2 + y**2) / (2 * (size / 7) ** 2))

    def sample(inverse: Matrix) -> Tensor:
        px, py = inverse[0, 0] * x + inverse[0, 1] * y, inverse[1, 0] * x + inverse[1, 1] * y
        total = np.zeros((samples, channels, size, size))
        for w in range(waves[-1]):
            kx, ky, p, a = (
                v[..., w, None, None] for v in (radius * np.cos(angle), radius * np.sin(angle), phase, height)
            )
            total += a * np.cos(kx * px + ky * py + p)
        return torch.from_numpy(total * window)

    return sample(np.eye(2)), sample(matrix.T)


def _centre(y: Tensor) -> Tensor:
    height, width = y.shape[2:]
    if height % 2 and width % 2:
        return y[:, :, height // 2, width // 2]
    return y.mean((2, 3))


@contextmanager
def _eval_mode(module: nn.Module) -> Iterator[None]:
    """Switch to eval mode and restore each submodule's own mode afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
