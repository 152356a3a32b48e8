r"""The eight tetracubes as smooth volumes in any orientation, made from a seed.

A shape is four unit cubes joined at faces; there are eight that no rotation joins, two of them mirror images of each
other. Each cube is drawn as a Gaussian at its centre, so all classes have the same mass, and a turned volume comes
from turned centres, without interpolation: it is exact for every rotation.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from pdoconv.data.splits import Images, Split
from pdoconv.data.splits import fingerprint as fingerprint_of
from pdoconv.grid import Matrix, axis_of
from pdoconv.pointgroups import octahedral

Orientation = Literal["upright", "cube", "any"]

_ORIGIN, _X, _Y, _Z = np.vstack([np.zeros(3), np.eye(3)])
TETRACUBES = {
    "I": (_ORIGIN, _X, 2 * _X, 3 * _X),
    "L": (_ORIGIN, _X, 2 * _X, 2 * _X + _Y),
    "T": (_ORIGIN, _X, 2 * _X, _X + _Y),
    "S": (_ORIGIN, _X, _X + _Y, 2 * _X + _Y),
    "square": (_ORIGIN, _X, _Y, _X + _Y),
    "tripod": (_ORIGIN, _X, _Y, _Z),
    "left screw": (_ORIGIN, _X, _X + _Y, _X + _Y + _Z),
    "right screw": (_ORIGIN, _X, _X + _Y, _X + _Y - _Z),
}
"""Cubes of each class in units of their side, by name; the two screws are mirror images."""

WOBBLE = np.radians(45)  # largest angle from the upright position
SHIFT = 0.5  # voxels along each axis, either way
JITTER = 0.1  # relative size, either way
BACKGROUND, PEAK = 40, 110  # grey values: of nothing, and of one cube's centre above that
NOISE = 0.25  # standard deviation relative to PEAK


class Volumes(NamedTuple):
    """Three splits of volumes, their orientations named in `title`."""

    train: Split
    valid: Split
    test: Split
    title: str

    @property
    def fingerprint(self) -> dict[str, str]:
        """First 16 digits of the sha256 of each array of volumes and of the test labels."""
        return fingerprint_of(self.train, self.valid, self.test)


def shapes(samples: int, orientation: Orientation = "upright", *, seed: int = 0, size: int = 15) -> Split:
    """Draw tetracubes with random place, size, orientation and noise: the same for the same arguments.

    Orientations: `"upright"`, at most 45 degrees off; `"cube"`, upright and then one of the 24 rotations of the cube;
    `"any"`, uniform over all rotations. For one seed only the orientations differ.

    Args:
        samples: Number of volumes n; the classes take turns.
        orientation: One of the three above.
        seed: Of everything random.
        size: Voxels of a side; shapes grow with it.

    Returns:
        Volumes `(n, size, size, size)` and labels 0..7 `(n,)`, uint8.

    Raises:
        ValueError: If an argument is out of range.
    """
    if samples < 1 or seed < 0 or size < 9 or orientation not in get_args(Orientation):
        raise ValueError(
            f"shapes: expected samples >= 1, seed >= 0, size >= 9 and orientation one of {get_args(Orientation)}, "
            f"received {samples}, {seed}, {size}, {orientation!r}."
        )
    rng, turning, noise = (np.random.Generator(np.random.PCG64([seed, stream])) for stream in range(3))
    labels = np.arange(samples) % len(TETRACUBES)
    cubes = np.stack([centred(name) for name in TETRACUBES])[labels] * (size / 6)
    cubes *= 1 + rng.uniform(-JITTER, JITTER, (samples, 1, 1))
    places = rng.uniform(-SHIFT, SHIFT, (samples, 1, 3))
    turned = np.einsum("nij,nkj->nki", orientations(samples, orientation, turning), cubes) + places
    images = np.empty((samples, size, size, size), np.uint8)
    for start in range(0, samples, 500):  # float64 for a part at a time
        part = slice(start, start + 500)
        values = draw(turned[part], size)
        values += NOISE * noise.standard_normal(values.shape)
        images[part] = to_bytes(values)
    return Split(images, labels.astype(np.uint8))


def centred(name: str) -> Matrix:
    """Return the cubes of a class `(4, 3)` about their centre of mass."""
    cubes = np.stack(TETRACUBES[name])
    return np.asarray(cubes - cubes.mean(0))


def draw(cubes: Matrix, size: int) -> Matrix:
    r"""Sum Gaussians $e^{-|p - c|^2 / 2 \sigma^2}$ around cube centres; sigma = size / 12, half a cube.

    Args:
        cubes: Centres `(n, k, 3)` in voxels from the middle of the volume, in (x, y, z).
        size: Voxels of a side.

    Returns:
        Volumes `(n, size, size, size)`, float64.
    """
    sigma = size / 12
    rods = {}
    for i in range(3):
        axis, sign = axis_of(i)
        positions = sign * (np.arange(size) - (size - 1) / 2)
        rods[axis] = np.exp(-((cubes[..., i, None] - positions) ** 2) / (2 * sigma**2))
    return np.asarray(np.einsum("nkd,nkh,nkw->ndhw", rods[-3], rods[-2], rods[-1], optimize=True))


def to_bytes(values: NDArray[np.float64]) -> Images:
    """Turn densities into grey values."""
    return np.clip(np.rint(BACKGROUND + PEAK * values), 0, 255).astype(np.uint8)


def orientations(samples: int, orientation: Orientation, rng: np.random.Generator) -> Matrix:
    """Return rotation matrices `(samples, 3, 3)`."""
    if orientation == "any":
        return _rotations(rng.standard_normal((samples, 4)))
    axes, half = rng.standard_normal((samples, 3)), rng.uniform(0, WOBBLE, (samples, 1)) / 2
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    wobbles = _rotations(np.hstack([np.cos(half), np.sin(half) * axes]))
    if orientation == "upright":
        return wobbles
    return np.asarray(octahedral().matrices[rng.integers(24, size=samples)] @ wobbles)


def _rotations(quaternions: Matrix) -> Matrix:
    """Turn quaternions `(n, 4)`, scalar first and of any length, into rotation matrices."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)
