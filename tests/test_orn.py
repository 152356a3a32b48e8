"""Oriented response networks: alignment, shared biases, the network."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Computed, copies, relative
from torch import fx, nn

import pdoconv as pdo
from pdoconv.filters import interpolated
from pdoconv.models import orn
from pdoconv.models.orn import Repeat, SharedBias, orn8_align
from pdoconv.nn.orientation import OrientationAlign

C4, C8, D4, D8 = (pdo.group(name) for name in ("C4", "C8", "D4", "D8"))
FINITE = {"C4": C4, "C8": C8, "D4": D4, "D8": D8, "O": pdo.octahedral(), "line": pdo.reflection()}
SHAPES = {1: (7,), 2: (5, 6), 3: (3, 4, 2)}
SMALL = {"widths": (3, 4, 5, 6), "hidden": 16, "classes": 4}


def turned(x, quarters=1):
    """Counter-clockwise as displayed."""
    return torch.rot90(x, quarters, (-2, -1))


# alignment


def loop_align(x, group):
    """One field at a pixel at a time, by matrices: out[h] is the response of g* h."""
    out = np.zeros_like(x)
    fields = x.shape[1] // group.order
    for b, field, *pixel in np.ndindex(x.shape[0], fields, *x.shape[2:]):
        place = (b, slice(field * group.order, (field + 1) * group.order), *pixel)
        responses = x[place]
        best = group.matrices[int(responses.argmax())]
        out[place] = [responses[group.index(best @ m)] for m in group.matrices]
    return out


@pytest.mark.parametrize("name", FINITE)
def test_alignment_equals_loops(name):
    group = FINITE[name]
    layer = OrientationAlign(group.regular(2))
    assert layer.out_type == group.trivial(2 * group.order)
    x = torch.randn(2, 2 * group.order, *SHAPES[group.dim], dtype=torch.float64)
    y = layer(x)
    assert np.array_equal(y.numpy(), loop_align(x.numpy(), group))
    fields = y.unflatten(1, (2, group.order))
    assert torch.equal(fields[:, :, 0], pdo.GroupPool(group.regular(2))(x))  # the largest response comes first
    assert torch.equal(fields.sort(2).values, x.unflatten(1, (2, group.order)).sort(2).values)  # nothing is lost


def violation(layer, group):
    """How far the output is from one that no element changes, on the channels of every pixel."""
    x = torch.randn(3, 2 * group.order, *SHAPES[group.dim], dtype=torch.float64)
    return max(float((layer(layer.in_type.mix(x, m)) - layer(x)).abs().max()) for m in group.matrices)


@pytest.mark.parametrize("name", FINITE)
def test_alignment_and_pooling_are_invariant(name):
    """To the last bit: numbers are only put in another order."""
    group = FINITE[name]
    assert violation(OrientationAlign(group.regular(2)), group) == 0.0
    assert violation(pdo.GroupPool(group.regular(2)), group) == 0.0


@pytest.mark.parametrize("group", [C4, C8], ids=str)
def test_alignment_of_rotations_rolls(group):
    layer = OrientationAlign(group.regular(3))
    x = torch.randn(2, 3, group.order, 4, 4)
    for shift in range(group.order):
        assert torch.equal(layer(x.roll(shift, 2).flatten(1, 2)), layer(x.flatten(1, 2)))
    field = x[0, 1, :, 2, 3]
    wanted = field.roll(-int(field.argmax()))
    assert torch.equal(layer(x.flatten(1, 2)).view_as(x)[0, 1, :, 2, 3], wanted)


@pytest.mark.parametrize("group", [D4, D8, pdo.octahedral()], ids=str)
def test_products_on_the_other_side_are_rejected(group):
    """Negative control: out[h] = f[h g*] is not invariant where the group does not commute."""
    layer = OrientationAlign(group.regular(2))
    layer.product = layer.product.T.contiguous()
    assert violation(layer, group) > 0.1


@pytest.mark.parametrize("group", [C8, D4], ids=str)
def test_rolls_the_wrong_way_are_rejected(group):
    """Negative control: out[h] = f[g*^-1 h] brings the largest response anywhere."""
    layer = OrientationAlign(group.regular(2))
    layer.product = layer.product[torch.as_tensor(group.inverse)]
    assert violation(layer, group) > 0.1


def test_the_first_of_equal_responses_counts():
    """No field of equal responses, and none behind a ReLU without any, depends on the choice; others may."""
    layer = OrientationAlign(C4.regular(1))

    def aligned(*values):
        return layer(torch.tensor(values).view(1, 4, 1, 1)).flatten().tolist()

    assert aligned(0.0, 0.0, 0.0, 0.0) == [0, 0, 0, 0]
    assert aligned(2.0, 2.0, 0.0, 1.0) == [2, 2, 0, 1]
    assert aligned(2.0, 0.0, 1.0, 2.0) == [2, 0, 1, 2]  # the same field, turned: here the order of the two shows


def test_gradient_of_alignment_is_put_back():
    layer = OrientationAlign(D4.regular(2))
    x = torch.randn(2, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    gy = torch.randn(2, 16, 3, 3, dtype=torch.float64)
    (gx,) = torch.autograd.grad(layer(x), x, gy)
    assert torch.allclose((gx * x).sum(), (gy * layer(x)).sum())  # a permutation is orthogonal
    assert torch.equal(gx.flatten().sort().values, gy.flatten().sort().values)


# parts of the network


@pytest.mark.parametrize("group", [C8, D4], ids=str)
def test_repeated_images_and_shared_biases_keep_the_symmetry(group):
    layer = pdo.Sequential(Repeat(group.trivial(2)), SharedBias(group.regular(2))).double()
    nn.init.normal_(layer[1].bias)
    assert layer[1].bias.shape == (2, group.order)
    x = torch.randn(2, 2, 5, 7, dtype=torch.float64)
    y = layer(x)
    means = layer[1].bias.detach().mean(1)
    assert (
        relative(
            y.unflatten(1, (2, group.order)), (x + means[:, None, None])[:, :, None].expand(-1, -1, group.order, -1, -1)
        )
        < 1e-12
    )
    for g in group.lattice_elements:
        moved = layer(group.trivial(2).transform(x, g))
        assert relative(moved, group.regular(2).transform(y, g)) < 1e-15
    wrong = Unshared(group.regular(2)).double()
    wrong.load_state_dict(layer[1].state_dict())
    y = wrong(layer[0](x))
    assert relative(wrong(layer[0](group.trivial(2).transform(x, 1))), group.regular(2).transform(y, 1)) > 0.1


class Unshared(SharedBias):
    """As released: every orientation has its own bias. Deliberately wrong."""

    def activate(self, x):
        return x + self.bias.flatten().view(-1, 1, 1)


# the network


def test_parameters():
    """As published, biases for each orientation included."""
    convs = sum(9 * 8 * i * o + 8 * o for i, o in ((1, 10), (10, 20), (20, 40), (40, 80)))
    for align, features, total in ((True, 640, 970_954), (False, 80, 397_514)):
        head = (features * 1024 + 1024) + (1024 * 10 + 10)
        assert sum(p.numel() for p in orn8_align(align=align).parameters()) == convs + head == total


def randomised(**options):
    net = orn8_align(**(SMALL | options)).double().eval()
    for part in net:
        if isinstance(part, SharedBias):
            nn.init.normal_(part.bias, std=0.3)
    return net


def worst(net, side):
    """Largest change of the logits under quarter turns."""
    x = torch.rand(2, 1, side, side, dtype=torch.float64)
    y = net(x)
    assert y.shape == (2, 4)
    return max(relative(net(turned(x, quarters)), y) for quarters in (1, 2, 3))


@pytest.mark.parametrize("align", [True, False])
@pytest.mark.parametrize(("side", "padding"), [(30, 0), (28, 1)])
@pytest.mark.parametrize("orientations", [4, 8])
def test_logits_do_not_see_quarter_turns_on_the_grid(orientations, side, padding, align):
    """30 -> 28, 14 -> 12, 6 -> 6, 3 -> 1: every pooled side is even. Without a warning, with any biases."""
    net = randomised(orientations=orientations, padding=padding, align=align)
    assert worst(net, side) < 1e-12
    x = torch.rand(2, 1, side, side, dtype=torch.float64)
    assert relative(net(x.flip(-1)), net(x)) > 1e-3  # negative control: a mirror image is another image


@pytest.mark.parametrize(("side", "padding"), [(32, 0), (28, 2), (34, 0)])
def test_published_sides_are_off_the_grid(side, padding):
    """32 -> 30, 15 -> 13: pooling leaves out a row and a column, and says so."""
    net = randomised(padding=padding)
    with pytest.warns(UserWarning, match="MaxPool2d: side (13|7) with kernel 2, stride 2, padding 0 breaks the exact"):
        assert worst(net, side) > 1e-3


def test_biases_that_act_one_by_one_are_rejected(monkeypatch):
    """Negative control: what the released networks learn."""
    monkeypatch.setattr(orn, "SharedBias", Unshared)
    assert worst(orn8_align(padding=1, **SMALL).double().eval(), 28) < 1e-12  # as long as they are zero
    assert worst(randomised(padding=1), 28) > 1e-3


def test_without_alignment_logits_see_quarter_turns(monkeypatch):
    """Negative control: responses left in their order."""
    net = randomised(padding=1)
    net[-6] = nn.Identity()
    assert isinstance(net[-5], nn.Flatten)
    assert worst(net, 28) > 1e-3


def test_the_first_layer_sees_the_image():
    """The repeated image meets the sum of eight weights: those centred over the input would give zero."""
    x = torch.randn(2, 1, 30, 30)
    repeated = Repeat(C8.trivial(1))(x)
    centred = pdo.GroupConv2d(C8.regular(1), C8.regular(10), 3, filters=interpolated(), bias=False)
    assert centred(repeated).abs().max() < 1e-5
    net = orn8_align()
    assert isinstance(net[1], pdo.GroupConv2d)
    for part in (net[1], net[5], net[9], net[13]):
        # He's rule: variance 2 / (9 * fields * 8)
        assert 0.8 < part.weight.std() / (2 / (9 * part.in_type.channels)) ** 0.5 < 1.2
    net[1].reset_parameters()
    assert 0.5 < net[1](repeated).std() < 3


@pytest.mark.filterwarnings("ignore:MaxPool2d")
def test_eighth_turns_are_approximate():
    """Measured, not required to be small: logits of a fresh network on smooth pictures, 30 pixels."""
    net = orn8_align(**SMALL).double()
    exact = pdo.equivariance_error(net, 90, size=30, out_type=C8.trivial(4))
    between = pdo.equivariance_error(net, 45, size=30, out_type=C8.trivial(4))
    assert exact < 1e-12
    assert 1e-3 < between < 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: OrientationAlign(C8.regular(2)),
        lambda: OrientationAlign(D4.regular(3)),
        lambda: Repeat(C8.trivial(2)),
        lambda: SharedBias(C8.regular(2)),
    ],
)
def test_layers_can_be_traced(make):
    layer = make()
    traced = fx.symbolic_trace(Computed(layer))
    for batch in (1, 3):
        x = torch.randn(batch, layer.in_type.channels, 4, 6)
        assert torch.equal(traced(x), layer(x))
    assert torch.equal(traced.double()(x.double()), layer.double()(x.double()))


@pytest.mark.parametrize("make", [lambda: OrientationAlign(D8.regular(2)), lambda: orn8_align(**SMALL)])
def test_copies_conversions_and_compilation(make):
    layer = make().eval()
    x = torch.randn(2, layer.in_type.channels, 30, 30)
    y = layer(x)
    for copy in copies(layer):
        assert torch.equal(copy(x), y)
    assert relative(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), y) < 1e-5
    assert "product" not in "".join(layer.state_dict())
    again = make().eval().double()
    again.load_state_dict(layer.state_dict())
    assert relative(again(x.double()), y) < 1e-4


def test_tables_are_filled_after_to_empty():
    x = torch.randn(1, 8, 2, 2)
    layer = OrientationAlign(D4.regular(1)).to("meta").to_empty(device="cpu")
    assert torch.equal(layer(x), OrientationAlign(D4.regular(1))(x))


def test_gradients_are_finite():
    net = orn8_align(padding=1)
    F.cross_entropy(net(torch.rand(4, 1, 28, 28)), torch.tensor([0, 1, 2, 3])).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name
    for part in net:
        if isinstance(part, SharedBias):
            assert torch.equal(part.bias.grad, part.bias.grad[:, :1].expand(-1, 8))


def test_bad_input():
    with pytest.raises(ValueError, match="OrientationAlign: expected a field type such as"):
        OrientationAlign("C8")
    for field in (C8.trivial(8), C8.vector(1), C8.regular(1) + C8.trivial(1), D4.quotient(pdo.cyclic(2))):
        with pytest.raises(
            ValueError, match=r"OrientationAlign: expected regular fields such as .*only their channels"
        ):
            OrientationAlign(field)
    with pytest.raises(ValueError, match=r"OrientationAlign: expected \(batch, 16, height, width\)"):
        OrientationAlign(C8.regular(2))(torch.zeros(1, 8, 4, 4))
    with pytest.raises(ValueError, match="Repeat: expected trivial fields, received C8: 1 regular"):
        Repeat(C8.regular(1))
    with pytest.raises(ValueError, match=r"Repeat: expected \(batch, 1, height, width\)"):
        Repeat(C8.trivial(1))(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"SharedBias: expected \(batch, 8, height, width\)"):
        SharedBias(C8.regular(1))(torch.zeros(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"orn8_align: expected four widths, .* received \(10, 20\)"):
        orn8_align(widths=(10, 20))
    for padding in (-1, True, 0.5):
        with pytest.raises(ValueError, match="orn8_align: padding must be one whole number >= 0"):
            orn8_align(padding=padding)
