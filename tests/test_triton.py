"""The CUDA kernels against plain torch operations in float64: on a CUDA device, else in triton's interpreter."""

import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv import filters
from pdoconv.kernels import choice, native, portable, triton_cuda
from pdoconv.kernels.geometry import Geometry
from pdoconv.kernels.plan import derivatives_plan, fourier_plan

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# conftest.py chooses the interpreter; that of triton 3.6 fails with numpy 2.4
found = tuple(int(part) for part in version("triton").split(".")[:2]) if find_spec("triton") else (0, 0)
needs_triton = pytest.mark.skipif(
    found < ((3, 9) if DEVICE == "cpu" else (1, 0)), reason="triton is not installed, or its interpreter is too old"
)
pytestmark = pytest.mark.filterwarnings("default")  # triton warns about itself
PLANS = {"fourier": fourier_plan, "derivatives": derivatives_plan}
REGULAR, LIFT, PROJECT = ("regular", "regular"), ("trivial", "regular"), ("regular", "trivial")


def group(name):
    return {"mirror": pdo.reflection, "octahedral": pdo.octahedral}.get(name, lambda: pdo.group(name))()


def errors(name, method, kinds, geometry, space, size=3, batch=2, dtype=torch.float32):
    """Relative errors of the three operators."""
    plan = PLANS[method](filters.default(len(space), size), group(name), size, *kinds)
    geometry = Geometry(*geometry)
    x = torch.randn(batch, geometry.in_fields * plan.enter.inputs, *space).to(dtype).double()
    flat = torch.randn(geometry.in_fields * geometry.out_fields * plan.entries).to(dtype).double()
    expected = portable.forward(plan, x, flat, geometry)
    gy = torch.randn_like(expected).to(dtype).double()
    ours = [t.to(DEVICE, dtype) for t in (x, flat, gy)]
    got = (
        triton_cuda.forward(plan, ours[0], ours[1], None, geometry),
        triton_cuda.input_gradient(plan, ours[2], ours[1], geometry, space),
        triton_cuda.weight_gradient(plan, ours[0], ours[2], geometry),
    )
    assert all(t.dtype == dtype for t in got)
    reference = (
        expected,
        portable.input_gradient(plan, gy, flat, geometry, space),
        portable.weight_gradient(plan, x, gy, geometry),
    )
    return [relative(a.cpu(), b) for a, b in zip(got, reference, strict=True)]


@needs_triton
@pytest.mark.parametrize("method", PLANS)
@pytest.mark.parametrize(
    ("name", "kinds", "geometry", "space"),
    [  # fields in and out, stride, padding, dilation
        ("C4", REGULAR, (2, 3, 1, 1, 1), (7, 9)),
        ("C8", REGULAR, (1, 2, 2, 2, 1), (8, 7)),
        ("D4", REGULAR, (2, 1, 1, 0, 2), (9, 7)),
        ("D4", LIFT, (3, 2, 2, 0, 1), (9, 10)),
        ("D4", PROJECT, (2, 2, 1, 2, 2), (5, 7)),
        ("C4", PROJECT, (1, 2, 2, 2, 2), (7, 8)),
        ("D4", ("trivial", "trivial"), (2, 1, 1, 1, 1), (5, 6)),
        ("mirror", REGULAR, (2, 2, 2, 1, 1), (12,)),
    ],
)
def test_operators(method, name, kinds, geometry, space):
    assert max(errors(name, method, kinds, geometry, space)) < 1e-5


@needs_triton
@pytest.mark.parametrize("method", PLANS)
@pytest.mark.parametrize(
    ("kinds", "geometry"),
    [
        (LIFT, (1, 1, 2, 1, 1)),
        (PROJECT, (1, 2, 1, 2, 2)),
        pytest.param(REGULAR, (1, 1, 1, 1, 1), marks=pytest.mark.slow),
    ],
)
def test_operators_in_space(method, kinds, geometry):
    assert max(errors("octahedral", method, kinds, geometry, (3, 4, 5), batch=1)) < 1e-5


@needs_triton
def test_many_tiles_and_chunks(monkeypatch):
    """More rows and pixels than a tile has, fewer programs than tiles, a field at a time."""
    for name, value in (("ROWS", 16), ("PIXELS", 32), ("PROGRAMS", 6), ("CHUNK", 1)):
        monkeypatch.setattr(triton_cuda, name, value)
    assert max(errors("C4", "fourier", REGULAR, (2, 9, 1, 1, 1), (5, 7), batch=1)) < 1e-5


@needs_triton
def test_larger_kernel():
    assert max(errors("C4", "fourier", REGULAR, (1, 1, 1, 2, 1), (5, 7), size=5)) < 1e-5


@needs_triton
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("method", PLANS)
def test_half_precision(monkeypatch, method, dtype):
    if DEVICE == "cpu":
        _widen_products(monkeypatch)
    bound = 2e-2 if dtype == torch.bfloat16 else 4e-3
    assert max(errors("D4", method, REGULAR, (2, 2, 1, 1, 1), (7, 9), dtype=dtype)) < bound


def _widen_products(monkeypatch):
    """The interpreter keeps bfloat16 as 16 bits and multiplies them as whole numbers."""
    import triton.language as tl
    from triton.runtime import interpreter

    plain = interpreter.InterpreterBuilder.create_dot

    def wide(t):
        if t.dtype.scalar != tl.bfloat16:
            return t
        return interpreter.TensorHandle((t.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    monkeypatch.setattr(
        interpreter.InterpreterBuilder,
        "create_dot",
        lambda self, a, b, *rest: plain(self, wide(a), wide(b), *rest),
    )


@needs_triton
def test_a_wrong_tap_is_noticed(monkeypatch):
    right = triton_cuda._terms

    def wrong(plan, number, device):
        terms = right(plan, number, device)
        coefficients = terms.coefficients.clone()
        flat = coefficients.view(-1)
        flat[flat.abs().argmax()] *= -1
        return terms._replace(coefficients=coefficients)

    monkeypatch.setattr(triton_cuda, "_terms", wrong)
    for method in PLANS:
        assert min(errors("C4", method, REGULAR, (2, 2, 1, 1, 1), (7, 9))) > 1e-2


@needs_triton
@pytest.mark.parametrize("method", PLANS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layer(monkeypatch, method, layout):
    """Through the operators: bias, memory format and every gradient as of the dense kernel."""
    if DEVICE == "cpu":
        monkeypatch.setattr(native, "supports", lambda x, geometry: False)
        monkeypatch.setattr(triton_cuda, "supports", lambda x, geometry: x.dtype in triton_cuda.DTYPES)
        monkeypatch.setattr(choice, "native_available", lambda: True)
    calls = []
    for name in ("forward", "input_gradient", "weight_gradient"):
        plain = getattr(triton_cuda, name)
        monkeypatch.setattr(triton_cuda, name, lambda *a, plain=plain, name=name: (calls.append(name), plain(*a))[1])
    field = pdo.group("C4").regular(2)
    layer = pdo.GroupConv2d(field, field, 3, filters=filters.default(2, 3), padding=1, method=method, device=DEVICE)
    dense = pdo.GroupConv2d(field, field, 3, filters=filters.default(2, 3), padding=1, method="dense", device=DEVICE)
    torch.nn.init.normal_(layer.bias)
    dense.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 6, 5, device=DEVICE).to(memory_format=layout)
    results = []
    for module in (layer, dense):
        inputs = x.clone().requires_grad_()
        y = module(inputs)
        y.square().sum().backward()
        results.append((y, inputs.grad, module.weight.grad, module.bias.grad))
    assert results[0][0].is_contiguous(memory_format=layout)
    assert all(relative(a, b) < 1e-5 for a, b in zip(*results, strict=True))
    assert calls == ["forward", "input_gradient", "weight_gradient"]


@needs_triton
def test_nothing_in():
    plan = fourier_plan(filters.default(2, 3), pdo.group("C4"), 3, *REGULAR)
    geometry, flat = Geometry(1, 1, 1, 1, 1), torch.randn(plan.entries, device=DEVICE)
    x = torch.zeros(0, 4, 5, 6, device=DEVICE)
    assert triton_cuda.forward(plan, x, flat, None, geometry).shape == x.shape
    assert triton_cuda.input_gradient(plan, x, flat, geometry, (5, 6)).shape == x.shape
    assert not triton_cuda.weight_gradient(plan, x, x, geometry).any()


COMPILE = """
import sys, types
import torch, triton
from triton.backends.compiler import GPUTarget
import pdoconv as pdo
from pdoconv import filters
from pdoconv.kernels import triton_cuda
from pdoconv.kernels.geometry import Geometry
from pdoconv.kernels.plan import derivatives_plan, fourier_plan

target = GPUTarget("cuda", int(sys.argv[1]), 32)
triton.runtime.driver.set_active(types.SimpleNamespace(
    get_current_target=lambda: target, get_current_device=lambda: 0, get_current_stream=lambda device: 0,
))
made = []
def launch(name, grid, like, *arguments):
    kernel = getattr(triton_cuda.kernels(), name).warmup(*arguments, grid=grid)
    made.append((name, like.dtype, len(kernel.asm["cubin"]) > 0, "mma" in kernel.asm["ptx"]))
triton_cuda._launch = launch
plain, exact = (fourier_plan, pdo.group("D4"), (8, 9), 1, 1), (derivatives_plan, pdo.group("D4"), (16, 16), 2, 3)
space = (fourier_plan, pdo.cyclic(2, dim=3), (4, 5, 6), 1, 2)
line = (fourier_plan, pdo.reflection(), (7,), 2, 1)
for precision, dtype, cases in (
    ("ieee", torch.float32, (plain, exact, space, line)), ("tf32", torch.float32, (plain, space)),
    ("ieee", torch.bfloat16, (plain, space)), ("ieee", torch.float16, (exact,)),
):
    torch.backends.cuda.matmul.fp32_precision = precision
    for plans, group, size, step, fields in cases:
        plan = plans(filters.default(len(size), 3), group, 3, "regular", "regular")
        geometry = Geometry(fields, 16, step, 1, 1)
        x = torch.zeros(2, fields * plan.enter.inputs, *size, dtype=dtype)
        flat = torch.zeros(fields * 16 * plan.entries)
        gy = triton_cuda.forward(plan, x, flat, None, geometry)
        triton_cuda.input_gradient(plan, gy, flat, geometry, size)
        triton_cuda.weight_gradient(plan, x, gy, geometry)
    wanted = precision == "tf32" or dtype != torch.float32
    assert len(made) > 2 and all(binary and kind == dtype for _, kind, binary, _ in made)
    assert all(mma == wanted for name, *_, mma in made if name != "adjoint")
    made.clear()
print("compiled")
"""


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_compiles(tmp_path, capability):
    """To machine code for two generations, in every dtype; matrix units are used where they should be."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", COMPILE, str(capability)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["compiled"], done.stderr


def test_supports():
    geometry = Geometry(1, 1, 2, 0, 1)
    assert not triton_cuda.supports(torch.zeros(1), geometry)
    if DEVICE == "cuda" and triton_cuda.available():
        for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
            x = torch.zeros(1, dtype=dtype, device=DEVICE)
            assert triton_cuda.supports(x, geometry) == (dtype != torch.float64)


def test_warns_only_without_kernels(monkeypatch):
    device = SimpleNamespace(type="cuda")
    layer = SimpleNamespace(
        weight=SimpleNamespace(device=device),
        dilation=1,
        kernel_size=3,
        padding=0,
        padding_mode="zeros",
        stride=2,
        method="fourier",
    )
    reasons = []
    monkeypatch.setattr(choice, "warn_once", reasons.append)
    for available in (True, False):
        monkeypatch.setattr(choice, "triton_available", lambda available=available: available)
        for dtype in (torch.float32, torch.bfloat16, torch.float64):
            x = SimpleNamespace(device=device, dtype=dtype, shape=(1, 4, 9, 9))
            before = len(reasons)
            assert pdo.nn.GroupConv._takes_fast(layer, x, None)
            assert len(reasons) - before == (not available or dtype == torch.float64)


def test_import_leaves_triton_alone():
    code = "import sys, torch; before = set(sys.modules); import pdoconv; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pdoconv.kernels.triton_cuda" in done.stdout.split()
    assert not {"triton", "torch._dynamo", "pdoconv.kernels.triton_kernels"} & set(done.stdout.split())
