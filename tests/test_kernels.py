"""Every way of computing a group convolution equals the dense kernel, forward and all gradients."""

import copy

import numpy as np
import pytest
import torch
from conftest import relative
from layer_pairs import difference, needs_kernel, pair

import pdoconv as pdo
from pdoconv.filters import FAMILIES, default, family
from pdoconv.irreps import irreps
from pdoconv.kernels import native, ops, portable
from pdoconv.kernels.geometry import Geometry
from pdoconv.kernels.plan import derivatives_plan, fourier_plan
from pdoconv.kernels.table import passes

PLANE = [pdo.cyclic(n) for n in (1, 2, 3, 4, 5, 6, 8, 12, 16)] + [pdo.dihedral(n) for n in (1, 2, 3, 4, 5, 6, 8)]
POINT_GROUPS = ["C1", "Ci", "Cs", "C2", "C3", "C4", "C6", "D2", "D3", "D4", "D6", "S4", "T", "O", "I", "Th", "Td", "Oh"]
SPACE = [pdo.group(name, dim=3) for name in POINT_GROUPS]
LINE = [pdo.reflection()]
KINDS = [(a, b) for a in ("regular", "trivial") for b in ("regular", "trivial")]
FAST = ["fourier", "derivatives"]


def side(group):
    return {1: (13,), 2: (9, 11), 3: (5, 6, 7)}[group.dim]


@pytest.mark.parametrize("group", PLANE + SPACE + LINE, ids=lambda g: f"{g}-{g.dim}d")
@pytest.mark.parametrize("method", FAST)
def test_every_group(group, method):
    for kinds in KINDS:
        assert (
            difference(*pair(group, kinds, method=method, padding=2, size=5 if group.dim < 3 else 3), side(group))
            < 1e-11
        )
    dense, fast = pair(group, method=method, padding=1, size=3, dtype=torch.float32)
    assert difference(dense, fast, side(group)) < 1e-5


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("group", ["C8", "D4"])
def test_every_family(name, method, group):
    layers = pair(pdo.group(group), filters=family(name), method=method, padding=2, size=7 if "eleven" in name else 5)
    assert difference(*layers, (9, 11)) < 1e-11


@pytest.mark.parametrize("size", [1, 3, 5, 7, 9])
@pytest.mark.parametrize("method", FAST)
def test_every_kernel_size(size, method):
    assert difference(*pair(pdo.cyclic(6), size=size, method=method, padding=size // 2), (11, 10)) < 1e-11


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 2},
        {"stride": 3, "padding": 1, "dilation": 2},
        {"dilation": 2, "padding": 3},
        {"padding": 0},
        {"padding": 5},
        {"padding": "same", "padding_mode": "circular"},
        {"padding": 2, "padding_mode": "reflect", "stride": 2},
        {"padding": 2, "padding_mode": "replicate", "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("group", [pdo.dihedral(3), pdo.group("D2", dim=3)], ids=str)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
def test_every_geometry(group, options, method):
    size = 5 if group.dim == 2 else 3
    assert difference(*pair(group, size=size, method=method, **options), (12, 10, 9)[: group.dim]) < 1e-11


@needs_kernel
@pytest.mark.parametrize(
    ("group", "space", "batch"),
    [
        (pdo.cyclic(4), (1, 1), 3),
        (pdo.cyclic(4), (3, 2), 5),
        (pdo.cyclic(4), (7, 7), 9),
        (pdo.cyclic(4), (5, 70), 2),
        (pdo.cyclic(4), (131, 16), 1),
        (pdo.dihedral(2), (64, 33), 2),
        (pdo.octahedral(), (20, 9, 17), 1),
        (pdo.reflection(), (3000,), 2),
    ],
    ids=str,
)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tiles_of_the_cpu_kernel(group, space, batch, threads, dtype):
    """Several images in one tile, one image in several, rows that are no multiple of a vector."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        layers = pair(group, padding=2, dtype=dtype, fields=(5, 3))
        assert difference(*layers, space, batch) < (1e-5 if dtype == torch.float32 else 1e-11)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("dim", [2, 3])
def test_memory_format_is_kept(method, dim):
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dim]
    group = pdo.group("D2", dim=dim)
    dense, fast = pair(group, method=method, padding=1, size=3)
    for side in (6, {2: 40, 3: 14}[dim]):
        assert difference(dense, fast, (side,) * dim, batch=3, layout=layout) < 1e-11
    x = torch.randn(2, dense.in_type.channels, *(6,) * dim, dtype=torch.float64).to(memory_format=layout)
    x.requires_grad_()
    y = fast(x)
    y.sum().backward()
    for t in (y, x.grad):
        assert t.is_contiguous(memory_format=layout)
        assert not t.is_contiguous()


@pytest.mark.parametrize("method", FAST)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_first_and_second_derivatives(method, stride):
    _, layer = pair(pdo.cyclic(3), size=3, method=method, fields=(1, 1), padding=1, stride=stride)
    x = torch.randn(1, 3, 5, 3, dtype=torch.float64, requires_grad=True)

    def f(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = (x, *layer.parameters())
    assert torch.autograd.gradcheck(f, inputs)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_tensors_with_gaps():
    """Gradients that are expanded numbers, a slice of a larger bias, axes in any order; no gradients at all."""
    dense, fast = pair(pdo.cyclic(4), padding=2)
    x = torch.randn(12, 9, 2, 8, dtype=torch.float64).permute(2, 0, 3, 1).requires_grad_()
    bias = torch.randn(2, 5, dtype=torch.float64)[:, 0]
    results = []
    for layer in (dense, fast):
        y = torch.func.functional_call(layer, {"weight": layer.weight, "bias": bias}, (x,))
        (g,) = torch.autograd.grad(y.sum(), layer.weight, create_graph=True)
        results.append([y, g, *torch.autograd.grad((g * g.detach()).sum() + g.sum(), x)])
    assert max(relative(b, a) for a, b in zip(*results, strict=True)) < 1e-11
    with torch.inference_mode():
        assert relative(fast(x), dense(x)) < 1e-11


@pytest.mark.parametrize("plan_of", [fourier_plan, derivatives_plan])
@pytest.mark.parametrize("operator", ["blocks", "forward", "input_gradient", "weight_gradient"])
def test_operators_are_well_behaved(plan_of, operator):
    """Torch's own checks: schema, fake tensors, autograd registration, tracing."""
    group = pdo.cyclic(4)
    plan = plan_of(default(2), group, 5, "regular", "regular")
    geometry, number = list(Geometry(2, 3, 1, 2, 1)), ops.name_of(plan)
    x, gy = (torch.randn(2, c, 6, 5, requires_grad=True) for c in (8, 12))
    weight = torch.randn(3, 2, 4, 13, requires_grad=True)
    flat = ops.blocks(weight, number).detach().requires_grad_()
    arguments = {
        "blocks": (weight, number),
        "forward": (x, flat, number, geometry, torch.randn(3, requires_grad=True)),
        "input_gradient": (gy, flat, number, geometry, [6, 5]),
        "weight_gradient": (x, gy, number, geometry),
    }[operator]
    torch.library.opcheck(
        getattr(ops, operator), arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor")
    )


def test_adjoint_of_the_blocks():
    for plan_of in (fourier_plan, derivatives_plan):
        for kinds in KINDS:
            plan = plan_of(default(2), pdo.dihedral(3), 5, *kinds)
            relative_elements = 6 if kinds == ("regular", "regular") else 1
            w = torch.randn(2, 3, relative_elements, plan.coordinates.shape[1], dtype=torch.float64)
            number = ops.name_of(plan)
            flat = ops.blocks(w, number)
            other = torch.randn_like(flat)
            assert torch.isclose(flat @ other, (w * ops.blocks_adjoint(other, number, list(w.shape))).sum())


# Negative controls


@pytest.mark.parametrize("fault", ["a stencil", "a coupling", "the mix", "the transform"])
@needs_kernel
def test_wrong_plans_are_rejected(fault):
    """One wrong number in any step is seen, by the CPU kernel and by the portable steps."""
    plan = fourier_plan(default(2), pdo.cyclic(8), 5, "regular", "regular")
    wrong = copy.deepcopy(plan)
    if fault == "a stencil":
        wrong.passes[1].coefficients[1] *= -1
        wrong.stencils[0] *= -1
    elif fault == "a coupling":
        wrong.couple.coefficients[3] *= -1
    elif fault == "the mix":
        wrong.mix[5, 7] += 1
    else:
        wrong.leave.coefficients[2] += 0.5
    x, w = torch.randn(1, 16, 6, 6), torch.randn(2, 2, 8, 13)
    geometry = Geometry(2, 2, 1, 2, 1)
    flat, flat_wrong = (ops.blocks(w, ops.name_of(p)) for p in (plan, wrong))
    right = native.forward(plan, x, flat, None, geometry)
    assert relative(portable.forward(plan, x, flat, geometry), right) < 1e-5
    assert relative(native.forward(wrong, x, flat_wrong, None, geometry), right) > 1e-3
    assert relative(portable.forward(wrong, x, flat_wrong, geometry), right) > 1e-3


@pytest.mark.parametrize("group", [pdo.cyclic(8), pdo.dihedral(4), pdo.octahedral()], ids=str)
@pytest.mark.parametrize("method", FAST)
def test_equivariance_of_the_fast_paths(group, method):
    """The law holds for lattice symmetries to rounding; with another factor for every channel it does not."""
    _, layer = pair(group, method=method, padding=2 if group.dim == 2 else 1, size=5 if group.dim == 2 else 3)
    g = group.lattice_elements[1]
    x = torch.randn(1, layer.in_type.channels, *(6,) * group.dim, dtype=torch.float64)

    def violation(f):
        return relative(f(layer.in_type.transform(x, g)), layer.out_type.transform(f(x), g))

    assert violation(layer) < 1e-11
    assert violation(lambda x: layer(x * torch.arange(1, x.shape[1] + 1)[None, :, *[None] * group.dim])) > 1e-3


# The mathematics


@pytest.mark.parametrize("group", PLANE + SPACE + LINE, ids=lambda g: f"{g}-{g.dim}d")
def test_irreps(group):
    every, n = irreps(group), group.order
    transform = np.concatenate([r.fourier().reshape(-1, n) for r in every])
    assert np.abs(transform @ transform.T - np.eye(n)).max() < 1e-13
    for r in every:
        assert np.abs(r.matrices[:, None] @ r.matrices[None] - r.matrices[group.product]).max() < 1e-12
    if n > 1:  # negative control: the same matrices in another order
        swapped = [r.matrices[np.roll(np.arange(n), 1)] for r in every]
        assert max(np.abs(m[:, None] @ m[None] - m[group.product]).max() for m in swapped) > 1e-3
    assert every[0].dim == 1
    assert np.abs(every[0].matrices - 1).max() < 1e-13


@pytest.mark.parametrize("name", ["C2", "C4", "C8", "C16", "C32", "D4", "D8", "D16"])
def test_products_are_linear_in_the_order(name):
    """At most 2 |G| S multiplications a pair of fields and pixel; the derivatives path needs |G|^2 S."""
    group = pdo.group(name)
    count = [
        sum(b.copies * b.outs * b.ins for b in plan_of(default(2), group, 5, "regular", "regular").blocks)
        for plan_of in (fourier_plan, derivatives_plan)
    ]
    assert 13 * group.order <= count[0] <= 2 * 13 * group.order
    assert count[1] == 13 * group.order**2


@pytest.mark.parametrize(("size", "dim"), [(3, 2), (5, 2), (7, 2), (3, 3), (5, 3), (5, 1)])
def test_passes_make_the_stencils(size, dim):
    stencils = np.random.default_rng(0).standard_normal((4, *(size,) * dim))
    for given in (
        stencils,
        fourier_plan(
            default(dim, size), LINE[0] if dim == 1 else pdo.group("C2", dim=dim), size, "regular", "regular"
        ).stencils,
    ):
        made = passes(given)[0].dense()[:, 0]
        for table in passes(given)[1:]:
            made = np.einsum("rfk,f...->rk...", table.dense(), made)
        assert np.abs(made - given).max() < 1e-12
