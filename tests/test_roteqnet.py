"""RotEqNet: orientation pooling, convolutions of vector fields, normalisation, the network."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import Computed, copies, relative
from test_interpolated import disk_of, loop_turned
from torch import fx, nn

import pdoconv as pdo
from pdoconv.filters import interpolated
from pdoconv.models.roteqnet import roteqnet
from pdoconv.nn.orientation import OrientationPool

ORDERS = (3, 4, 8, 17)


def turned(x, quarters=1):
    """Counter-clockwise as displayed."""
    return torch.rot90(x, quarters, (-2, -1))


def turned_vectors(v, quarters=1):
    """Turn the map and its vectors, `(batch, fields * 2, height, width)` with components x, y up."""
    for _ in range(quarters):
        u, w = turned(v).unflatten(1, (-1, 2)).unbind(2)
        v = torch.stack([-w, u], 2).flatten(1, 2)
    return v


def gaussians(side=28, batch=2):
    """Smooth pictures."""
    line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    places = torch.randn(batch, 6, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 5.0])
    a, x, y = (t[..., None, None] for t in places.unbind(2))
    return (a * torch.exp(-((line - x) ** 2 + (-line[:, None] - y) ** 2) / 8)).sum(1, keepdim=True)


# orientation pooling


def loop_pool(x, order):
    """One pixel at a time."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, channels // order, 2, height, width))
    for place in np.ndindex(batch, channels // order, height, width):
        b, field, row, column = place
        responses = x[b, field * order : (field + 1) * order, row, column]
        k = int(np.argmax(responses))
        angle = 2 * math.pi * k / order
        out[b, field, :, row, column] = responses[k] * math.cos(angle), responses[k] * math.sin(angle)
    return out.reshape(batch, -1, height, width)


@pytest.mark.parametrize("order", [1, 2, *ORDERS])
def test_pooling_equals_loops(order):
    layer = OrientationPool(pdo.cyclic(order).regular(3))
    assert layer.out_type == pdo.cyclic(order).vector(3)
    x = torch.randn(2, 3 * order, 4, 5, dtype=torch.float64)
    assert relative(layer(x), loop_pool(x.numpy(), order)) < 1e-12
    assert relative(layer(x.float()), loop_pool(x.numpy(), order)) < 1e-6
    assert relative(layer(x.half()).float(), loop_pool(x.half().double().numpy(), order)) < 1e-3
    assert layer(x.half()).dtype == torch.half


def law(layer, order):
    """The worst violation under every element, on the channels, where nothing need be interpolated."""
    group = pdo.cyclic(order)
    into, out = group.regular(3), group.vector(3)
    x = torch.randn(2, into.channels, 4, 5, dtype=torch.float64)
    return max(relative(layer(into.mix(x, m)), out.mix(layer(x), m)) for m in group.matrices)


@pytest.mark.parametrize("order", ORDERS)
def test_vectors_turn_with_the_responses(order):
    layer = OrientationPool(pdo.cyclic(order).regular(3))
    assert law(layer, order) < 1e-15 * order
    for fault in ([1.0, -1.0], [-1.0, 1.0]):  # negative controls: y down; angles clockwise from the other side
        wrong = OrientationPool(pdo.cyclic(order).regular(3))
        wrong.directions = wrong.directions * torch.tensor(fault, dtype=torch.float64)
        assert law(wrong, order) > 0.1
    wrong = OrientationPool(pdo.cyclic(order).regular(3))
    wrong.directions = wrong.directions.flip(0)
    assert law(wrong, order) > 0.1


@pytest.mark.parametrize("order", [4, 8, 12])
def test_pooling_keeps_lattice_symmetries(order):
    layer = OrientationPool(pdo.cyclic(order).regular(2))
    x = torch.randn(2, 2 * order, 5, 8, dtype=torch.float64)
    for g in layer.in_type.group.lattice_elements:
        assert relative(layer(layer.in_type.transform(x, g)), layer.out_type.transform(layer(x), g)) < 1e-15


def test_gradient_goes_through_the_maximum_only():
    order = 8
    layer = OrientationPool(pdo.cyclic(order).regular(2))
    x = torch.randn(1, 2 * order, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, x)
    gy = torch.randn(1, 4, 3, 3, dtype=torch.float64)
    (found,) = torch.autograd.grad(layer(x), x, gy)
    fields = x.detach().view(2, order, 3, 3)
    places = fields.argmax(1)
    angle = 2 * math.pi * places.double() / order
    along = gy.view(2, 2, 3, 3)[:, 0] * angle.cos() + gy.view(2, 2, 3, 3)[:, 1] * angle.sin()
    wanted = torch.zeros_like(fields).scatter_(1, places[:, None], along[:, None])
    assert relative(found, wanted.view_as(x)) < 1e-12
    flat = torch.zeros(1, 16, 2, 2, requires_grad=True)  # no response at all, as behind a ReLU
    layer(flat).sum().backward()
    assert not layer(flat).any()
    assert flat.grad.isfinite().all()


# convolutions


def loop_conv(x, weight, bias, order, padding, turns_components=True):
    """Turn every filter by loops, its components by the formula of the paper, and convolve in the ordinary way.

    Args:
        x: `(batch, fields * D, height, width)`, D = 1 or 2.
        weight: `(out, fields, D, size, size)`: w, or (w_u, w_v).
        bias: `(out,)`.
    """
    out, fields, components, size, _ = weight.shape
    bank = np.zeros((out, order, fields, components, size, size))
    for k in range(order):
        angle = 2 * math.pi * k / order
        for o, i, d in np.ndindex(out, fields, components):
            bank[o, k, i, d] = loop_turned(weight[o, i, d] * disk_of(size), angle)
        if components == 2 and turns_components:
            u, v = bank[:, k, :, 0].copy(), bank[:, k, :, 1].copy()
            bank[:, k, :, 0] = u * math.cos(angle) - v * math.sin(angle)
            bank[:, k, :, 1] = v * math.cos(angle) + u * math.sin(angle)
    kernel = torch.as_tensor(bank.reshape(out * order, fields * components, size, size))
    return F.conv2d(x, kernel, torch.as_tensor(np.repeat(bias, order)), padding=padding)


@pytest.mark.parametrize("kind", ["trivial", "vector"])
@pytest.mark.parametrize("order", [4, 17])
def test_convolution_equals_turned_filters(kind, order):
    """The equivariant kernels from vectors to regular fields are the filters of the paper, tap by tap."""
    group = pdo.cyclic(order)
    into, out = getattr(group, kind)(2), group.regular(3)
    layer = pdo.GroupConv2d(into, out, 5, filters=interpolated(disk=True), padding=2).double()
    layer.bias.data.normal_()
    assert layer.bias.shape == (3,)
    assert layer.weight.shape == (3, 2, into.field_size, 25)
    layer.weight.data.normal_()
    weight = layer.weight.detach().view(3, 2, -1, 5, 5).numpy()
    x = torch.randn(2, into.channels, 8, 7, dtype=torch.float64)
    assert relative(layer(x), loop_conv(x, weight, layer.bias.detach().numpy(), order, 2)) < 1e-12
    if kind == "vector":  # negative control
        plain = loop_conv(x, weight, layer.bias.detach().numpy(), order, 2, turns_components=False)
        assert relative(layer(x), plain) > 0.1


def block(order, into, width=4, size=9):
    """Convolution, ReLU, vectors."""
    group = pdo.cyclic(order)
    conv = pdo.GroupConv2d(into, group.regular(width), size, filters=interpolated(disk=True), padding=size // 2)
    conv.bias.data.normal_()
    return pdo.Sequential(conv, nn.ReLU(), OrientationPool(group.regular(width)))


def stack(order):
    """Two blocks with pooling and normalisation between them."""
    group = pdo.cyclic(order)
    vectors = group.vector(4)
    middle = [pdo.MaxPool2d(vectors, 2), pdo.BatchNorm2d(vectors)]
    net = pdo.Sequential(*block(order, group.trivial(1)), *middle, *block(order, vectors, 3))
    for part in net:
        if isinstance(part, pdo.BatchNorm2d):
            part.weight.data.uniform_(0.5, 2)
            part.running_var.uniform_(0.5, 2)
    return net.double()


@pytest.mark.parametrize("order", [4, 8, 12])
@pytest.mark.parametrize("make", [lambda order: block(order, pdo.cyclic(order).trivial(1)).double(), stack])
@pytest.mark.parametrize("train", [True, False])
def test_vector_fields_turn_with_quarter_turns(order, make, train):
    net = make(order).train(train)
    x = torch.randn(2, 1, 12, 12, dtype=torch.float64)
    y = net(x)
    for quarters in (1, 2, 3):
        assert relative(net(turned(x, quarters)), turned_vectors(y, quarters)) < 1e-12
    assert relative(net(turned(x)), turned(y)) > 0.1  # negative control: vectors that stay as they are


def test_seventeen_orientations_have_no_quarter_turn():
    """Vectors of 17 directions, turned by 90 degrees, are at least 5.3 degrees from all of them: a floor of 9%.

    On top comes what bilinear interpolation does to the filters, in another way at each angle: measured 0.33 to 0.48
    on smooth pictures with random filters, 0.85 on noise. Both are of the layout, not of rounding.
    """
    nearest = min(abs(360 * k / 17 - 90) for k in range(17))
    assert abs(nearest - 5.294) < 1e-3
    net = block(17, pdo.cyclic(17).trivial(1)).double()
    x = gaussians()
    y, moved = net(x), net(turned(x))
    error = (moved - turned_vectors(y)).norm() / y.norm()
    assert math.sin(math.radians(nearest)) < error < 0.6
    # most vectors take the nearest direction or its neighbour (measured: 87% to 92%), and none comes closer
    a, b = (v.detach().unflatten(1, (-1, 2)) for v in (moved, turned_vectors(y)))
    cosine = F.cosine_similarity(a, b, dim=2)[a.norm(dim=2) * b.norm(dim=2) > 1e-3]
    assert (cosine > math.cos(math.radians(360 / 17))).double().mean() > 0.75
    assert cosine.max() < math.cos(math.radians(nearest)) + 1e-9


# what a vector means


def coordinates(side):
    line = np.arange(side) - (side - 1) / 2
    return np.meshgrid(line, -line)  # x right, y up


def bar(x, y):
    """A bar from the origin to the right."""
    return np.exp(-(y**2) / 2) / (1 + np.exp(-2 * x))


def edge(x, y):
    """Bright to the right of the origin."""
    return 1 / (1 + np.exp(-2 * x))


@pytest.mark.parametrize("picture", [bar, edge])
@pytest.mark.parametrize("order", [8, 17])
def test_the_vector_of_a_bar_points_along_it(picture, order):
    """Within 360 / R degrees, the spacing of the orientations: half of it for rounding, the rest for interpolation.

    Finer than some 15 degrees interpolation decides: it blurs filters at some angles more than at others.
    """
    group = pdo.cyclic(order)
    conv = pdo.GroupConv2d(group.trivial(1), group.regular(1), 9, filters=interpolated(disk=True)).double()
    template = picture(*coordinates(9))
    conv.weight.data = torch.as_tensor(template - (template * disk_of(9)).sum() / disk_of(9).sum()).view(1, 1, 1, 81)
    net = pdo.Sequential(conv, nn.ReLU(), OrientationPool(group.regular(1)))
    x, y = coordinates(9)
    for degrees in np.arange(0.0, 360.0, 7.0):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        image = torch.as_tensor(picture(c * x + s * y, -s * x + c * y))[None, None]
        u, v = net(image).flatten().tolist()
        off = (math.degrees(math.atan2(v, u)) - degrees + 180) % 360 - 180
        assert abs(off) < 360 / order
        if degrees == 91:  # negative control: y down
            assert abs((math.degrees(math.atan2(-v, u)) - degrees + 180) % 360 - 180) > 90


# normalisation and pooling of vectors


def test_normalisation_is_that_of_the_paper():
    """Divided by the root of the mean square of both components, with a gain: no mean, no shift."""
    vectors = pdo.cyclic(17).vector(3)
    norm = pdo.BatchNorm2d(vectors, eps=1e-9).double()
    assert [name for name, _ in norm.named_parameters()] == ["weight"]
    norm.weight.data.normal_()
    x = torch.randn(4, 6, 5, 7, dtype=torch.float64) + 2
    squares = x.view(4, 3, 2, 5, 7).square()
    root = squares.mean((0, 2, 3, 4)).sqrt()
    wanted = x.view(4, 3, 2, 5, 7) * (norm.weight.detach() / root).view(3, 1, 1, 1)
    assert relative(norm(x), wanted.view_as(x)) < 1e-8
    magnitudes = squares.sum(2).mean((0, 2, 3)).sqrt()  # negative control: of the magnitudes, larger by sqrt(2)
    assert torch.allclose(magnitudes / root, torch.full((3,), math.sqrt(2), dtype=torch.float64))


def test_pooling_takes_the_longest_vector():
    vectors = pdo.cyclic(17).vector(2)
    x = torch.randn(2, 4, 6, 4, dtype=torch.float64)
    y = pdo.MaxPool2d(vectors, 2)(x)
    for b, field, row, column in np.ndindex(2, 2, 3, 2):
        window = x[b, 2 * field : 2 * field + 2, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(2, 4)
        assert torch.equal(y[b, 2 * field : 2 * field + 2, row, column], window[:, window.norm(dim=0).argmax()])
    assert relative(y, F.max_pool2d(x, 2)) > 0.1  # negative control: component by component


# the network


def test_parameters():
    """Published: about 100,000; counted by hand from the released layout."""
    net = roteqnet()
    convs = (6 * 81 + 6) + (16 * 6 * 2 * 81 + 16) + (32 * 16 * 2 * 81 + 32)
    head = (32 * 128 + 128) + 2 * 128 + (128 * 10 + 10)
    assert sum(p.numel() for p in net.parameters()) == convs + 6 + 16 + head == 104_828
    assert [tuple(m.weight.shape) for m in net if isinstance(m, pdo.GroupConv2d)] == [
        (6, 1, 1, 81),
        (16, 6, 2, 81),
        (32, 16, 2, 81),
    ]


def warmed(net):
    """Give normalisation statistics that matter."""
    net.train()
    for part in net.modules():
        if isinstance(part, pdo.BatchNorm2d | nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
        if isinstance(part, pdo.GroupConv2d):
            nn.init.normal_(part.bias)
    for _ in range(3):
        net(torch.rand(4, 1, 28, 28, dtype=next(net.parameters()).dtype))
    return net.eval()


@pytest.mark.parametrize("order", [4, 8])
def test_logits_do_not_see_quarter_turns(order):
    net = warmed(roteqnet(orientations=order, classes=4, widths=(3, 4, 5), hidden=16).double())
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    y = net(x)
    assert y.shape == (2, 4)
    for quarters in (1, 2, 3):
        assert relative(net(turned(x, quarters)), y) < 1e-12
    assert relative(net(x.flip(-1)), y) > 1e-3  # negative control: a mirror image is another image


def test_published_network_sees_them():
    net = warmed(roteqnet().double())
    x = gaussians()
    assert relative(net(turned(x)), net(x)) > 1e-3


def test_negative_control_of_a_bias_for_each_orientation():
    net = warmed(roteqnet(orientations=4, widths=(3, 4, 5), hidden=16).double())
    x = torch.rand(2, 1, 28, 28, dtype=torch.float64)
    conv, values = net[0], torch.randn(12, dtype=torch.float64)
    conv.dense_bias = lambda: values
    conv._fast = None
    assert relative(net(turned(x)), net(x)) > 1e-3


@pytest.mark.parametrize(
    "make", [lambda: OrientationPool(pdo.cyclic(8).regular(3)), lambda: roteqnet(orientations=5, widths=(2, 3, 4))]
)
def test_copies_conversions_and_compilation(make):
    layer = make().eval()
    x = torch.randn(2, layer.in_type.channels, 28, 28)
    y = layer(x)
    for copy in copies(layer):
        assert torch.equal(copy(x), y)
    assert relative(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), y) < 1e-5
    there_and_back = make().eval()
    there_and_back.load_state_dict(layer.state_dict())
    assert relative(there_and_back.half().double()(x.double()), y) < 0.2  # weights lose digits, constants do not
    exact = OrientationPool(pdo.cyclic(8).regular(3))
    assert torch.equal(exact.half().double().directions, OrientationPool(exact.in_type).directions)
    assert "directions" not in "".join(layer.state_dict())


def test_tables_are_filled_after_to_empty():
    layer = OrientationPool(pdo.cyclic(8).regular(1)).to("meta")
    x = torch.randn(1, 8, 2, 2)
    assert torch.equal(layer.to_empty(device="cpu")(x), OrientationPool(pdo.cyclic(8).regular(1))(x))


def test_pooling_can_be_traced():
    layer = OrientationPool(pdo.cyclic(17).regular(3))
    traced = fx.symbolic_trace(Computed(layer))
    for batch in (1, 3):
        x = torch.randn(batch, 51, 4, 6)
        assert torch.equal(traced(x), layer(x))
    assert torch.equal(traced.double()(x.double()), layer(x.double()))


def test_gradients_are_finite():
    net = roteqnet()
    loss = F.cross_entropy(net(torch.rand(4, 1, 28, 28)), torch.tensor([0, 1, 2, 3]))
    loss.backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
    inside = torch.as_tensor(disk_of(9).ravel())
    for part in net:
        if isinstance(part, pdo.GroupConv2d):
            assert part.weight.grad[..., inside].any()
            assert not part.weight.grad[..., ~inside].any()


def test_bad_input():
    C8, D4 = pdo.cyclic(8), pdo.dihedral(4)
    with pytest.raises(ValueError, match="OrientationPool: expected a field type such as"):
        OrientationPool(8)
    for field in (C8.trivial(2), C8.vector(1), C8.regular(1) + C8.trivial(1), C8.quotient(pdo.cyclic(2))):
        with pytest.raises(ValueError, match=r"OrientationPool: expected regular fields of rotations of the plane"):
            OrientationPool(field)
    with pytest.raises(ValueError, match="expected regular fields of rotations of the plane, such as"):
        OrientationPool(pdo.cyclic(4, dim=3).regular(1))
    with pytest.raises(ValueError, match="OrientationPool: D4 has reflections, and an element points the same way"):
        OrientationPool(D4.regular(2))
    with pytest.raises(ValueError, match=r"OrientationPool: expected \(batch, 16, height, width\)"):
        OrientationPool(C8.regular(2))(torch.zeros(1, 15, 4, 4))
    with pytest.raises(ValueError, match=r"roteqnet: expected three widths, .* received \(6, 16\)"):
        roteqnet(widths=(6, 16))
    with pytest.raises(ValueError, match="whole number"):
        roteqnet(orientations=0)


def test_elements_of_a_dihedral_group_share_directions():
    """Why reflections are refused: the vector would not tell an element from its mirror image."""
    directions = pdo.dihedral(4).matrices[:, :, 0]
    assert len(np.unique(directions, axis=0)) == 4
