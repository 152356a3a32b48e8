r"""The CPU kernel: C++ that is compiled on first use and kept in the user's cache folder.

Works where a C++ compiler is found (`$CXX`, `g++`, `clang++` or `c++`); elsewhere one warning says so and slower paths
compute the same. `PDOCONV_CACHE` names another folder for the compiled library; `PDOCONV_NATIVE=0` switches it off.
"""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pdoconv.kernels.plan import Plan

FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC")
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}
REAL = {torch.float32: np.float32, torch.float64: np.float64}


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL | None:
    """Return the compiled library, compiling it if need be; `None`, with a warning, where that is not possible."""
    if os.environ.get("PDOCONV_NATIVE") == "0":
        return None
    try:
        return ctypes.CDLL(str(_compiled()))
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"pdoconv: the fast CPU kernel is not available, layers compute the same by plain convolutions: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _compiled() -> Path:
    """Return the path of the library for this source, compiler and processor."""
    compiler = next((c for c in (os.environ.get("CXX"), "g++", "clang++", "c++") if c and shutil.which(c)), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found (install g++, or set CXX).")
    here = Path(__file__).parent
    sources = sorted(here.glob("*.h")) + [here / "group_conv.cpp"]
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    identity = "".join([path.read_text() for path in sources] + [version, *FLAGS, _processor()])
    folder = Path(os.environ.get("PDOCONV_CACHE") or _cache_root() / "pdoconv")
    target = folder / f"group_conv-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if target.is_file():
        return target
    print("pdoconv: compiling the CPU kernel, once on this machine (some seconds)", file=sys.stderr, flush=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home
        folder = Path(tempfile.mkdtemp(prefix="pdoconv-"))
        target = folder / target.name
    for openmp in (["-fopenmp"], []):  # without it one thread
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / target.name
            command = [compiler, *FLAGS, *openmp, str(sources[-1]), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                made.replace(target)  # whole or not at all, also when two processes compile at once
                return target
    raise RuntimeError(f"{compiler} failed: {done.stderr.strip()[-500:]}")


def _cache_root() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


@lru_cache(maxsize=256)
def _packed(plan: Plan, dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]  # two dtypes
    """Lay a plan out for the library: integers, then coefficients."""
    tables = [plan.enter, plan.couple, plan.leave]
    tables += [table.transposed() for table in tables]
    tables += [*plan.passes, *(table.transposed() for table in plan.passes)]
    ints = [plan.enter.inputs, plan.leave.rows, len(plan.stencils), len(plan.passes), len(plan.blocks)]
    ints += chain.from_iterable((b.copies, b.outs, b.ins) for b in plan.blocks)
    for t in tables:
        ints += [t.rows, t.inputs, len(t.sources), *t.starts, *t.sources, *t.shifts]
    reals = np.concatenate([t.coefficients for t in tables])
    return np.array(ints, dtype=np.int32), reals.astype(REAL[dtype])


def supports(x: Tensor) -> bool:
    """Tell whether the kernel takes a tensor of this device and dtype."""
    return x.device.type == "cpu" and x.dtype in SUFFIX and library() is not None


def _call(
    name: str, plan: Plan, fields: tuple[int, int], space: tuple[int, ...], geometry: tuple[int, int], *tensors: Tensor
) -> None:
    """Call an entry of the library; the first tensor has the batch, None becomes a null pointer."""
    ints, reals = _packed(plan, tensors[0].dtype)
    dim, (padding, dilation) = len(space), geometry
    ones = (1,) * (3 - dim)
    shape = (tensors[0].shape[0], *fields, *ones, *space, *ones, *plan.stencils.shape[1:], dilation, padding, dim)
    sizes = np.array([*shape, torch.get_num_threads()], dtype=np.int64)
    arrays = [ctypes.c_void_p(a.ctypes.data) for a in (ints, reals, sizes)]
    pointers = [ctypes.c_void_p(t.data_ptr() if t.numel() else None) for t in tensors]
    kernels = library()
    assert kernels is not None  # `supports` was asked
    getattr(kernels, f"{name}_{SUFFIX[tensors[0].dtype]}")(*arrays, *pointers)


def forward(
    plan: Plan, x: Tensor, weight: Tensor, bias: Tensor | None, fields: tuple[int, int], geometry: tuple[int, int]
) -> Tensor:
    """Return the convolution of contiguous `x` `(batch, in_channels, *space)` with flat block weights."""
    space = tuple(x.shape[2:])
    y = x.new_empty((x.shape[0], fields[1] * plan.leave.rows, *out_space(plan, space, geometry)))
    if y.numel():
        _call("forward", plan, fields, space, geometry, x, weight, x.new_empty(0) if bias is None else bias, y)
    return y


def input_gradient(
    plan: Plan, gy: Tensor, weight: Tensor, fields: tuple[int, int], space: tuple[int, ...], geometry: tuple[int, int]
) -> Tensor:
    """Return the gradient of `x`, of size `space`."""
    gx = gy.new_empty((gy.shape[0], fields[0] * plan.enter.inputs, *space))
    if gx.numel():
        _call("input_gradient", plan, fields, space, geometry, gy, weight, gx)
    return gx


def weight_gradient(
    plan: Plan, x: Tensor, gy: Tensor, fields: tuple[int, int], geometry: tuple[int, int]
) -> Tensor:
    """Return the gradient of the flat block weights."""
    gw = x.new_zeros(fields[0] * fields[1] * sum(b.outs * b.ins for b in plan.blocks))
    if x.numel():
        _call("weight_gradient", plan, fields, tuple(x.shape[2:]), geometry, x, gy, gw)
    return gw


def out_space(plan: Plan, space: tuple[int, ...], geometry: tuple[int, int]) -> tuple[int, ...]:
    """Return the size of the output for a size of the input."""
    padding, dilation = geometry
    taps = plan.stencils.shape[1:]
    return tuple(n + 2 * padding - dilation * (k - 1) for n, k in zip(space, taps, strict=True))
