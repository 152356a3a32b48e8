r"""The CPU kernel: C++ that is compiled on first use and kept in the user's cache folder.

Works where a C++ compiler is found (`$CXX`, `g++`, `clang++` or `c++`); elsewhere one warning says so and slower paths
compute the same. `PDOCONV_CACHE` names another folder for the compiled library; `PDOCONV_NATIVE=0` switches it off.
"""

import atexit
import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pdoconv.kernels.geometry import Geometry, empty, out_space, without_gaps
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
        path = _compiled()
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # a damaged file
            path.unlink()
            return ctypes.CDLL(str(_compiled()))
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"pdoconv: the fast CPU kernel is not available, layers compute the same by plain convolutions: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def parallel() -> bool:
    """Tell whether the kernel exists and uses as many threads as torch does."""
    kernels = library()
    return kernels is not None and (bool(kernels.parallel()) or torch.get_num_threads() == 1)


def _compiled() -> Path:
    """Return the path of the library for this source, compiler and processor."""
    here = Path(__file__).parent
    sources = [*sorted(here.glob("*.h")), here / "group_conv.cpp"]
    identity = "".join([*(path.read_text() for path in sources), *FLAGS, _processor()])
    folder = _cache()
    target = folder / f"group_conv-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.so"
    if target.is_file() and _is_mine(target):
        return target
    compiler = next((c for c in (os.environ.get("CXX"), "g++", "clang++", "c++") if c and shutil.which(c)), None)
    if compiler is None:
        raise RuntimeError("no C++ compiler found (install g++, or set CXX).")
    print("pdoconv: compiling the CPU kernel, once on this machine (some seconds)", file=sys.stderr, flush=True)
    for openmp in (["-fopenmp"], []):  # without it one thread
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            made = Path(temporary) / target.name
            command = [compiler, *FLAGS, *openmp, str(sources[-1]), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                made.replace(target)  # whole or not at all, also when two processes compile at once
                return target
    raise RuntimeError(f"{compiler} failed: {done.stderr.strip()[-500:]}")


def _cache() -> Path:
    """Return the folder for the library: the user's own, otherwise a private one that lasts as long as the process."""
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(os.environ.get("PDOCONV_CACHE") or Path(root) / "pdoconv")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.access(folder, os.W_OK) and _is_mine(folder):
            return folder
    except (OSError, RuntimeError):  # a read-only or missing home
        pass
    private = tempfile.mkdtemp(prefix="pdoconv-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return Path(private)


def _is_mine(path: Path) -> bool:
    """Tell whether nobody else could have written a file or folder."""
    status = path.stat()
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _processor() -> str:
    """Return what `-march=native` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


@lru_cache(maxsize=256)
def _packed(plan: Plan, dtype: torch.dtype) -> tuple[NDArray[np.int32], NDArray[np.floating]]:
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


def supports(x: Tensor, geometry: Geometry) -> bool:
    """Tell whether the kernel takes a tensor of this device and dtype, and this stride."""
    return x.device.type == "cpu" and x.dtype in SUFFIX and geometry.stride == 1 and library() is not None


def forward(plan: Plan, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
    """Return the convolution of `x` `(batch, in_channels, *space)` with flat block weights, in its memory format."""
    x, layout = without_gaps(x)
    space = out_space(plan.stencils.shape[1:], x.shape[2:], geometry)
    y = empty(x, geometry.out_fields * plan.leave.rows, space, layout)
    bias = x.new_empty(0) if bias is None else bias.contiguous()
    _call("forward", plan, geometry, x.shape[2:], layout, x, weight.contiguous(), bias, y)
    return y


def input_gradient(plan: Plan, gy: Tensor, weight: Tensor, geometry: Geometry, space: Sequence[int]) -> Tensor:
    """Return the gradient of an `x` of size `space`, in the memory format of `gy`."""
    gy, layout = without_gaps(gy)
    gx = empty(gy, geometry.in_fields * plan.enter.inputs, space, layout)
    _call("input_gradient", plan, geometry, space, layout, gy, weight.contiguous(), gx)
    return gx


def weight_gradient(plan: Plan, x: Tensor, gy: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient of the flat block weights."""
    x, layout = without_gaps(x)
    gw = x.new_zeros(geometry.in_fields * geometry.out_fields * plan.entries)
    _call("weight_gradient", plan, geometry, x.shape[2:], layout, x, gy.contiguous(memory_format=layout), gw)
    return gw


def _call(
    name: str, plan: Plan, geometry: Geometry, space: Sequence[int], layout: torch.memory_format, *tensors: Tensor
) -> None:
    """Call an entry of the library. The first tensor has the batch, the last is written; empty ones are null."""
    if not tensors[0].numel() or not tensors[-1].numel():
        tensors[-1].zero_()
        return
    first, pair = tensors[0], geometry.in_fields * geometry.out_fields * plan.entries
    if any((t.device, t.dtype) != (first.device, first.dtype) for t in tensors) or pair not in (
        tensors[1].numel(),
        tensors[-1].numel(),
    ):
        said = ", ".join(f"{tuple(t.shape)} {t.dtype} on {t.device}" for t in tensors)
        raise ValueError(f"pdoconv::{name}: expected tensors of one device and dtype, {pair} weights; received {said}.")
    ints, reals = _packed(plan, tensors[0].dtype)
    ones, taps = (1,) * (3 - len(space)), plan.stencils.shape[1:]
    fields = (geometry.in_fields, geometry.out_fields)
    shape = (tensors[0].shape[0], *fields, *ones, *space, *ones, *taps, geometry.dilation, geometry.padding)
    options = (len(space), torch.get_num_threads(), int(layout != torch.contiguous_format))
    sizes = np.array([*shape, *options], dtype=np.int64)
    arrays = [ctypes.c_void_p(a.ctypes.data) for a in (ints, reals, sizes)]
    pointers = [ctypes.c_void_p(t.data_ptr() if t.numel() else None) for t in tensors]
    kernels = library()
    assert kernels is not None  # `supports` was asked
    if getattr(kernels, f"{name}_{SUFFIX[first.dtype]}")(*arrays, *pointers):
        raise MemoryError(f"pdoconv::{name}: out of memory; method='dense' may need less, or give smaller batches.")
