"""Steerable operators: complete, equivariant, the same everywhere, and PDO-eConv between regular fields."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv import representations
from pdoconv.filters import family, paper, pointwise
from pdoconv.filters.pdo import _in_frames
from pdoconv.kernels.steerable import count, space
from pdoconv.measure import fitted_order, layer_error
from pdoconv.operators import coefficients, monomials, rotation_adapted

PLANE = {
    "C4": ["C2"],
    "C6": ["C2", "C3"],
    "C8": ["C2", "C4"],
    "C16": ["C4"],
    "D4": ["C2", "D1", "C4"],
    "D8": ["C4", "D1", "D2"],
    "SO2": [],
    "O2": [],
}
NAMES = [*PLANE, "O"]


def kinds(name):
    """Every kind of representation of a group; frequencies up to 4."""
    group = pdo.group(name)
    found = [representations.trivial(group), representations.vector(group)]
    for k in range(min(representations._last(group), 4) + 1):
        found += [representations.irrep(group, k), representations.irrep(group, k, True)]
    if not group.continuous:
        found.append(representations.regular(group))
    subgroups = [pdo.group(s) for s in PLANE.get(name, [])]
    if name == "O":
        subgroups = [pdo.cyclic(4, dim=3), pdo.tetrahedral()]
    found += [representations.quotient(group, subgroup) for subgroup in subgroups]
    return list(dict.fromkeys(found))


def field(r, n):
    return pdo.FieldType(r.group, ((r, n),))


def layer(r_in, r_out, size=5, n=(2, 2), **options):
    make = pdo.PDOConv2d if r_in.group.dim == 2 else pdo.PDOConv3d
    made = make(field(r_in, n[0]), field(r_out, n[1]), size, **{"padding": size // 2, "dtype": torch.float64} | options)
    if made.bias is not None:
        torch.nn.init.normal_(made.bias)
    return made


def violation(made, shape):
    """Worst relative violation of the law over the lattice symmetries."""
    x = torch.randn(2, made.in_type.channels, *shape, dtype=made.weight.dtype)
    with torch.no_grad():
        y = made(x)
        return max(
            relative(made(made.in_type.transform(x, g)), made.out_type.transform(y, g))
            for g in made.in_type.group.lattice_elements
        )


@pytest.mark.parametrize("name", NAMES)
def test_law_and_character_count_of_every_pair(name):
    """Exact for lattice symmetries; as many kernels as there are invariants in out x in x operators."""
    group = pdo.group(name)
    filters = pdo.filters.pdo(rotation_adapted(4 if group.dim == 2 else 2, group.dim))
    size, shape = (5, (6, 7)) if group.dim == 2 else (3, (4, 3, 4))
    operator_characters = sum(on_polynomials(group, n) for n in range(5 if group.dim == 2 else 3))
    worst = 0.0
    for r_in, r_out in itertools.product(kinds(name), repeat=2):
        characters = [np.trace(r.matrices, axis1=1, axis2=2) for r in (r_in, r_out)]
        expected = round(float(np.mean(characters[0] * characters[1] * operator_characters)))
        found = count(filters, size, r_out, r_in)
        assert found[0] * found[1] == expected, (r_in, r_out)
        if expected:
            worst = max(worst, violation(layer(r_in, r_out, size, filters=filters), shape))
        else:
            with pytest.raises(ValueError, match="no map from"):
                layer(r_in, r_out, size, filters=filters)
    assert worst < 1e-12


def on_polynomials(group, n):
    """Character on homogeneous polynomials of degree n: coefficient of z^n in 1 / det(1 - z g) (Molien)."""
    found = []
    for g in group.matrices:
        values = np.linalg.eigvals(g)
        power = [np.sum(values**k) for k in range(n + 1)]
        h = [1.0]  # Newton's identity for complete symmetric polynomials
        for m in range(1, n + 1):
            h.append(sum(power[k] * h[m - k] for k in range(1, m + 1)) / m)
        found.append(np.real(h[n]))
    return np.array(found)


@pytest.mark.parametrize("name", ["C4", "D4", "O"])
def test_float32(name):
    for r_in, r_out in itertools.product(kinds(name)[1:4], repeat=2):
        if sum(count(pdo.filters.default(r_in.group.dim, 3), 3, r_out, r_in)[1:]):
            assert violation(layer(r_in, r_out, 3, dtype=torch.float32), (5,) * r_in.group.dim) < 1e-5


@pytest.mark.parametrize("name", ["C8", "D4", "O"])
def test_general_construction_is_pdo_econv_between_regular_fields(name):
    """The averaged kernels and the layer's own expansion, tap for tap: one layer, one weight."""
    group = pdo.group(name)
    size = 5 if group.dim == 2 else 3
    ends = [representations.trivial(group), representations.regular(group)]
    for r_in, r_out in itertools.product(ends, repeat=2):
        made = layer(r_in, r_out, size, (3, 2))
        found = space(made.filters, size, r_out, r_in)
        assert found.copies * made.weight.shape[3] == len(found.basis)
        expected = np.einsum("oin,nab...->oaib...", made.weight.detach().flatten(2).numpy(), found.basis)
        assert np.abs(made.kernel().detach().numpy() - expected.reshape(made.kernel().shape)).max() < 1e-12


@pytest.mark.parametrize("name", ["C4", "D6"])
def test_kernels_of_regular_fields_are_complete(name):
    """Regular to regular: the average of any kernel in the span is made of them."""
    group, rng = pdo.group(name), np.random.default_rng(0)
    r = representations.regular(group)
    filters = pdo.filters.default(2)
    found = space(filters, 5, r, r).basis.reshape(-1, group.order**2 * 25)
    moved, weight = filters.basis(group, 5), rng.standard_normal((13, group.order, group.order))
    average = np.einsum("gai,bij,gcj,gbxy->acxy", r.matrices, weight, r.matrices, moved, optimize=True).ravel()
    left = average - found.T @ np.linalg.lstsq(found.T, average, rcond=None)[0]
    assert np.abs(left).max() < 1e-9 * np.abs(average).max()


class Polynomials:
    """The operators themselves, as coefficients of monomials: what there is before any stencil."""

    def __init__(self, order):
        self.order = order

    def basis(self, group, size):
        exponents = monomials(2, self.order)
        adapted = rotation_adapted(self.order)
        return coefficients(adapted, exponents) @ _in_frames(group.matrices, exponents)


@pytest.fixture(scope="module")
def e2cnn():
    with np.load(Path(__file__).parent / "oracles" / "e2cnn_diffops.npz") as arrays:
        yield dict(arrays)


@pytest.mark.parametrize("name", ["C4", "C8", "D4", "D8"])
def test_spaces_equal_those_of_e2cnn(e2cnn, name):
    """Dimensions for every pair up to order 4; for small fields the spaces themselves, in e2cnn's representations."""
    meta, group = json.loads(str(e2cnn["meta"])), pdo.group(name)
    assert np.allclose(e2cnn[f"matrices/{name}"], group.matrices, atol=1e-12)
    kinds = {
        kind: pdo.Representation(group, f"e2cnn's {kind}", e2cnn[f"rho/{name}/{kind}"]) for kind in meta["kinds"][name]
    }
    for order in range(5):
        polynomials = Polynomials(order)
        for (i, out), (j, into) in itertools.product(enumerate(kinds.values()), repeat=2):
            if max(out.dim, into.dim) <= 8 or order == 2:
                found = space(polynomials, 1, out, into)
                assert len(found.basis) == e2cnn[f"dimensions/{name}"][order, i, j], (out, into)
    compared = 0
    for key in (key for key in meta["cases"] if key.split("/")[1] == name):
        _, _, into, out = key.split("/")
        theirs = e2cnn[key]
        theirs = theirs.reshape(len(theirs), theirs[:1].size or 1)
        ours = space(Polynomials(meta["basis_order"]), 1, kinds[out], kinds[into]).basis
        assert len(ours) == len(theirs)
        if len(theirs):
            ours = ours.reshape(len(ours), -1)
            left = theirs - np.linalg.lstsq(ours.T, theirs.T, rcond=None)[0].T @ ours
            assert np.abs(left).max() < 1e-9, key
            wrong = theirs[:, ::-1] + 1  # negative control
            left = wrong - np.linalg.lstsq(ours.T, wrong.T, rcond=None)[0].T @ ours
            assert np.linalg.matrix_rank(ours) == ours.shape[1] or np.abs(left).max() > 1e-3, key
            compared += 1
    assert compared >= 20


GOLDEN = Path(__file__).parent / "oracles" / "steerable_golden.json"
FROZEN = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize(
    "case", FROZEN, ids=lambda case: f"{case['group']} {case['in']} {case['out']} {case['family']}"
)
def test_frozen_kernels(case):
    """What trained weights stand on: a change of these numbers makes checkpoints mean something else."""
    values, orders = golden(case)
    assert np.allclose(values, case["values"], atol=1e-9)
    assert orders == case["orders"]


def golden(case):
    """One number for each kernel, and the orders of its operators."""
    group = pdo.group(case["group"])
    r_in, r_out = (golden_kind(group, case[end]) for end in ("in", "out"))
    found = space(family(case["family"]) if group.dim == 2 else pdo.filters.default(3), case["size"], r_out, r_in)
    flat = found.basis.reshape(len(found.basis), -1)
    return [round(v, 12) for v in flat @ np.cos(np.arange(flat.shape[1]))], list(found.orders)


def golden_kind(group, text):
    """From "irrep 2", "quotient C2" and the like."""
    kind, _, argument = text.partition(" ")
    if kind == "irrep":
        return representations.irrep(group, int(argument))
    if kind == "quotient":
        return representations.quotient(group, pdo.group(argument, dim=group.dim))
    return getattr(representations, kind)(group)


@pytest.mark.parametrize(("name", "expected"), [("isotropic-eleven", 4), ("paper", 2)])
@pytest.mark.parametrize("pair", [(1, 2), (0, 3), (2, 1)])
def test_order_at_other_angles(name, expected, pair):
    """At a generic angle the error falls with the stencils' order."""
    SO2 = pdo.so2()
    torch.manual_seed(0)
    made = pdo.PDOConv2d(SO2.irrep(pair[0]), SO2.irrep(pair[1]), filters=family(name), dtype=torch.float64)
    errors = layer_error(made, (0.2, 0.1, 0.05), rotation=37.0)
    assert abs(fitted_order(errors) - expected) < 0.3


@pytest.mark.parametrize("name", ["C8", "D8", "SO2"])
def test_smooth_inputs_at_every_angle(name):
    group = pdo.group(name)
    first, angle = group.trivial(1) + group.vector(2), 20.0 if name == "SO2" else 45.0
    for last in (group.irrep(2, 2), group.vector(1) + group.trivial(1) + group.irrep(3, 1)):
        assert pdo.equivariance_error(pdo.PDOConv2d(first, last, padding=2), angle) < 1e-2
    wrong = pdo.PDOConv2d(first, group.irrep(3, 2), padding=2)
    wrong.out_type = group.irrep(2, 2)  # negative control: frequency 3 taken for 2
    assert pdo.equivariance_error(wrong, angle) > 0.1


class Faulty(pdo.PDOConv2d):
    """Kernels made wrong on purpose."""

    def __init__(self, *types, fault):
        super().__init__(*types, padding=2, dtype=torch.float64)
        self.fault = fault

    def kernel(self):
        k = super().kernel()
        if self.fault is None:
            return k
        if self.fault == "transposed":
            return k.transpose(2, 3)
        if self.fault == "channels swapped":
            return k[:, [1, 0]]
        if self.fault == "sign":
            return k * torch.tensor([1.0, -1.0], dtype=k.dtype)[:, None, None, None]
        bump = torch.zeros_like(k)
        bump[0, 0, 1, 2] = 0.01
        return k + bump


@pytest.mark.parametrize(
    ("fault", "ks"), [("transposed", (1, 2)), ("channels swapped", (1, 2)), ("sign", (2, 1)), ("a tap", (1, 1))]
)
def test_wrong_kernels_are_caught(fault, ks):
    C8 = pdo.cyclic(8)
    types = [C8.irrep(k) for k in ks]
    assert violation(Faulty(*types, fault=None), (6, 6)) < 1e-12
    assert violation(Faulty(*types, fault=fault), (6, 6)) > 1e-3


def test_mixed_types_are_their_pieces():
    """One flat weight, by blocks of the output, then of the input; the kernel is the layers' side by side."""
    D4 = pdo.dihedral(4)
    ins = [D4.trivial(2), D4.regular(1), D4.irrep(1, 2)]
    outs = [D4.regular(2), D4.vector(1), D4.irrep(0, 1, pseudo=True)]
    whole = pdo.PDOConv2d(ins[0] + ins[1] + ins[2], outs[0] + outs[1] + outs[2], dtype=torch.float64)
    start, rows = 0, []
    for i, out in enumerate(outs):
        row = []
        for j, into in enumerate(ins):
            single = pdo.PDOConv2d(into, out, dtype=torch.float64)
            part = whole.weight.detach()[start : start + single.weight.numel()]
            assert whole.pieces[3 * i + j].shape == single.weight.shape
            single.weight.data = part.view_as(single.weight)
            start += part.numel()
            row.append(single.kernel())
        rows.append(torch.cat(row, 1))
    assert start == whole.weight.numel()
    assert torch.equal(whole.kernel(), torch.cat(rows))
    assert violation(whole, (5, 6)) < 1e-12


def test_bias_of_what_no_element_moves():
    D4 = pdo.dihedral(4)
    types = D4.trivial(2) + D4.irrep(1, 3) + D4.regular(1) + D4.quotient(pdo.cyclic(2), 2)
    made = pdo.PDOConv2d(D4.trivial(1), types, dtype=torch.float64)
    made.bias.data = torch.arange(1.0, 6.0, dtype=torch.float64)
    assert made.dense_bias().tolist() == [1, 2, *[0] * 6, *[3] * 8, *[4] * 4, *[5] * 4]
    assert pdo.PDOConv2d(D4.trivial(1), D4.irrep(1)).bias is None
    about_z = pdo.cyclic(4, dim=3)
    upright = pdo.PDOConv3d(about_z.trivial(1), about_z.vector(2), 3)  # the z component may have one
    upright.bias.data = torch.tensor([1.0, 2.0])
    assert upright.dense_bias().tolist() == [0, 0, 1, 0, 0, 2]


def test_shapes_of_weights():
    C8 = pdo.cyclic(8)
    shapes = {
        (C8.regular(3), C8.irrep(1, 2)): (2, 3, 2, 13),
        (C8.irrep(2, 3), C8.regular(2)): (2, 3, 2, 13),
        (C8.quotient(pdo.cyclic(2), 1), C8.regular(2)): (2, 1, 4, 13),
        (C8.irrep(1, 3), C8.irrep(1, 2)): (2, 3, 1, 8),
        (C8.trivial(3), C8.trivial(2)): (2, 3, 1, 3),
    }
    for (first, last), shape in shapes.items():
        assert pdo.PDOConv2d(first, last).weight.shape == shape
    with pytest.raises(ValueError, match="no map from"):
        pdo.PDOConv2d(C8.trivial(1), C8.irrep(4), 3)
    with pytest.raises(ValueError, match="init='authors'"):
        pdo.PDOConv2d(C8.trivial(1), C8.irrep(1), init="authors")


def test_families_that_turning_leaves():
    """Of the paper's nine operators: regular fields use the nine, others all that their turned copies span."""
    C8 = pdo.cyclic(8)
    assert pdo.PDOConv2d(C8.regular(1), C8.irrep(1), filters=paper()).weight.shape == (1, 1, 2, 9)
    scalar = pdo.PDOConv2d(C8.trivial(1), C8.trivial(1), filters=paper(), padding=2, dtype=torch.float64)
    assert scalar.weight.shape == (1, 1, 1, 3)
    for r_in, r_out in itertools.product(kinds("C8"), repeat=2):
        assert violation(layer(r_in, r_out, filters=paper()), (5, 6)) < 1e-12


def test_pointwise_filters():
    """1x1 layers between any fields are the maps that commute with the group (Schur)."""
    D4 = pdo.dihedral(4)
    rs = [r for r in kinds("D4") if r.name.startswith("irrep")]
    for r_in, r_out in itertools.product(rs, repeat=2):
        assert sum(count(pointwise(), 1, r_out, r_in)[1:]) == (r_in == r_out), (r_in, r_out)
    made = pdo.GroupConv2d(D4.regular(2), D4.vector(1), 1, filters=pointwise(), dtype=torch.float64)
    assert violation(made, (4, 5)) < 1e-12


@pytest.mark.parametrize("name", ["C8", "D4", "SO2"])
def test_variance_of_outputs(name):
    """Variance 1 in every kind of field from noise of variance 1 (1/2 second moment in permuted hidden fields)."""
    group = pdo.group(name)
    hidden = group.trivial(4) + group.irrep(1, 8) + group.irrep(2, 8)
    torch.manual_seed(0)
    x = torch.randn(4, hidden.channels, 16, 16)
    x[:, :4] = x[:, :4].relu()
    with torch.no_grad():
        y = pdo.PDOConv2d(hidden, hidden, padding=2, padding_mode="circular")(x)
    for part in (y[:, :4], y[:, 4:20], y[:, 20:]):
        assert 0.4 < float(part.square().mean()) < 2.5
    apart = group.trivial(16) + group.irrep(2, 32) + group.trivial(16)  # a kind in two blocks
    torch.manual_seed(0)
    x = torch.randn(4, 32, 16, 16)
    with torch.no_grad():
        y = pdo.PDOConv2d(group.irrep(1, 16), apart, padding=2, padding_mode="circular")(x)
    assert 0.75 < float(y.square().mean()) < 1.35


def test_a_gradient_is_lifted():
    """A vector input in the library's components: the layer sees the gradient of a turned image as the turned one."""
    C8, D4 = pdo.cyclic(8), pdo.dihedral(4)
    image = torch.randn(1, 1, 12, 12, dtype=torch.float64)

    def gradient(f):
        dx = (f.roll(-1, 3) - f.roll(1, 3)) / 2
        dy = (f.roll(1, 2) - f.roll(-1, 2)) / 2  # y is up
        return torch.cat([dx, dy], 1)

    for group in (C8, D4):
        made = pdo.PDOConv2d(group.vector(1), group.regular(2), padding=2, padding_mode="circular", dtype=torch.float64)
        y = made(gradient(image))
        for g in group.lattice_elements:
            turned = gradient(group.trivial(1).transform(image, g))
            assert relative(turned, group.vector(1).transform(gradient(image), g)) < 1e-12
            assert relative(made(turned), made.out_type.transform(y, g)) < 1e-12
    down = gradient(image) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)  # negative control: y down
    turned = gradient(C8.trivial(1).transform(image, 2)) * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    made = pdo.PDOConv2d(C8.vector(1), C8.regular(2), padding=2, padding_mode="circular", dtype=torch.float64)
    assert relative(made(turned), made.out_type.transform(made(down), 2)) > 0.1


def test_operators_are_those_of_the_theory():
    """Trivial to vector up to order 1 is the gradient, vector to trivial the divergence, in x right and y up."""
    O2, filters = pdo.o2(), Polynomials(1)
    gradient = space(filters, 1, O2.vector(1).blocks[0][0], O2.trivial(1).blocks[0][0]).basis
    assert np.allclose(gradient[:, :, 0], [[[0, 1, 0], [0, 0, 1]]])  # monomials 1, u, v; norm sqrt 2
    divergence = space(filters, 1, O2.trivial(1).blocks[0][0], O2.vector(1).blocks[0][0]).basis
    assert np.allclose(divergence[:, 0] * np.sqrt(2), [[[0, 1, 0], [0, 0, 1]]])
    curl = space(filters, 1, O2.irrep(0, pseudo=True).blocks[0][0], O2.vector(1).blocks[0][0]).basis
    assert np.allclose(curl[:, 0] * np.sqrt(2), [[[0, 0, 1], [0, -1, 0]]])
    assert not len(space(filters, 1, O2.trivial(1).blocks[0][0], O2.irrep(0, pseudo=True).blocks[0][0]).basis)


if __name__ == "__main__":  # freezes anew
    lines = [json.dumps({**case, **dict(zip(("values", "orders"), golden(case), strict=True))}) for case in FROZEN]
    GOLDEN.write_text("[\n" + ",\n".join(lines) + "\n]\n")
