"""Polar transformer: log-polar sampling, centroids, convolutions that wrap around the angles, whole networks."""

import math

import numpy as np
import pytest
import torch
from conftest import copies, relative, season
from torch import nn

from pdoconv.models.ptn import PolarTransformer, ptn
from pdoconv.nn.polar import LogPolar, PolarConv2d, centroid

QUARTERS = (1, 2, 3)
BLOBS = np.random.default_rng(0).normal(size=(6, 3))  # amplitude, place


def turned(x, quarters=1):
    """Counter-clockwise as displayed."""
    return torch.rot90(x, quarters, (-2, -1))


def picture(side=41, *, angle=0.0, scale=1.0, shift=(0.0, 0.0), fine=1.0):
    """Gaussians about the centre, turned, magnified and shifted before they are sampled."""
    place = (np.arange(side) - (side - 1) / 2) / fine
    x, y = np.meshgrid(place - shift[0], -place - shift[1])
    c, s = math.cos(angle), math.sin(angle)
    x, y = (c * x + s * y) / scale, (-s * x + c * y) / scale
    total = sum(a * np.exp(-((x - 4 * u) ** 2 + (y - 4 * v) ** 2) / 18) for a, u, v in BLOBS)
    return torch.as_tensor(total)[None, None]


def textures(side=28, batch=2):
    return torch.randn(batch, 1, side, side, dtype=torch.float64)


# centroid


def gaussian(side, x, y, width=2.0):
    place = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    return torch.exp(-((place - x) ** 2 + (-place[:, None] - y) ** 2) / (2 * width**2))[None, None]


@pytest.mark.parametrize("side", [28, 29])
def test_centroid_of_a_bump_is_its_place(side):
    for x, y in ((0.0, 0.0), (3.0, 0.0), (0.0, 4.0), (-2.3, 1.6)):
        assert torch.allclose(centroid(gaussian(side, x, y)), torch.tensor([[x, y]], dtype=torch.float64), atol=1e-5)


@pytest.mark.parametrize("side", [28, 29, 30, 31])
@pytest.mark.parametrize("stride", [2, 3])
def test_centroid_of_a_strided_map_is_in_pixels_of_the_image(side, stride):
    """Cells lie on pixels 0, s, 2 s, ...: without the size the answer is off where they are not centred."""
    heat = gaussian(side, 0.7, -1.3, width=2.7)[..., ::stride, ::stride]
    wanted = torch.tensor([[0.7, -1.3]], dtype=torch.float64)
    assert torch.allclose(centroid(heat, stride=stride, size=(side, side)), wanted, atol=1e-3)
    off = ((side - 1) % stride) / 2
    centred = centroid(heat, stride=stride)
    assert torch.allclose(centred - wanted, torch.tensor([[off, -off]], dtype=torch.float64), atol=1e-3)


def test_centroid_turns_and_shifts_with_the_map():
    heat = torch.zeros(3, 1, 20, 20, dtype=torch.float64)
    heat[..., 6:13, 5:11] = torch.rand(3, 1, 7, 6, dtype=torch.float64)
    point = centroid(heat)
    for quarters in QUARTERS:
        c, s = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
        matrix = torch.tensor([[c, -s], [s, c]], dtype=torch.float64)
        assert torch.allclose(centroid(turned(heat, quarters)), point @ matrix.T, atol=1e-12)
    clockwise = torch.tensor([[0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)
    assert relative(centroid(turned(heat)), point @ clockwise.T) > 0.5
    shift = torch.tensor([3.0, 2.0], dtype=torch.float64)  # 3 to the right, 2 up
    assert torch.allclose(centroid(heat.roll((-2, 3), (-2, -1))), point + shift, atol=1e-12)


def test_centroid_of_a_map_that_is_not_square():
    heat = torch.zeros(1, 1, 4, 7)
    heat[0, 0, 1, 5] = 2.0
    assert centroid(heat).tolist() == [[2.0, 0.5]]
    assert centroid(heat, stride=2, size=(7, 14)).tolist() == [[3.5, 1.0]]


def test_centroid_has_gradients_and_survives_empty_maps():
    heat = torch.rand(2, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: centroid(h, stride=2, size=(9, 8)), heat)
    empty = torch.zeros(1, 1, 14, 14, requires_grad=True)
    point = centroid(empty, stride=2)
    assert point.tolist() == [[0.0, 0.0]]
    point.sum().backward()
    assert empty.grad.isfinite().all()
    faint = torch.full((1, 1, 14, 14), 1e-20)
    faint[..., 13] = 2e-20
    assert torch.allclose(centroid(faint), centroid(faint * 1e20), atol=1e-6)


def test_centroid_of_half_precision_maps_is_exact():
    heat = torch.zeros(1, 1, 512, 512, dtype=torch.bfloat16)
    heat[..., 3, 500] = 1.0
    assert centroid(heat).tolist() == [[244.5, 252.5]]


# log-polar images


def loop_polar(x, rows, columns, radius, origin):
    """One sample at a time: the place, its row and column, the four pixels around it, zeros outside."""
    batch, channels, height, width = x.shape
    out = np.zeros((batch, channels, rows, columns))
    for n in range(batch):
        for i in range(rows):
            for j in range(columns):
                r, t = radius ** (j / columns), 2 * math.pi * i / rows
                column = origin[n][0] + r * math.cos(t) + (width - 1) / 2
                row = (height - 1) / 2 - (origin[n][1] + r * math.sin(t))
                top, left = math.floor(row), math.floor(column)
                for a in (top, top + 1):
                    for b in (left, left + 1):
                        if 0 <= a < height and 0 <= b < width:
                            share = (1 - abs(row - a)) * (1 - abs(column - b))
                            out[n, :, i, j] += share * x[n, :, a, b]
    return out


@pytest.mark.parametrize("size", [(12, 7), (5, 9)], ids=str)
@pytest.mark.parametrize("radius", [None, 4.5])
def test_sampling_equals_loops(size, radius):
    x = torch.randn(2, 3, 11, 14, dtype=torch.float64)
    origin = torch.tensor([[1.3, -2.1], [-3.4, 0.7]], dtype=torch.float64)
    used = radius or 0.5 * math.sqrt(11**2 + 14**2)
    expected = loop_polar(x.numpy(), *size, used, origin.tolist())
    layer = LogPolar(size, radius=radius)
    assert relative(layer(x, origin), expected) < 1e-12
    assert relative(layer(x.float(), origin.float()), expected) < 1e-5
    centred = loop_polar(x.numpy(), *size, used, [(0.0, 0.0)] * 2)
    assert relative(layer(x), centred) < 1e-12
    shifted = loop_polar(x.numpy(), *size, used, (origin + 0.5).tolist())
    assert relative(layer(x, origin), shifted) > 0.1  # negative control: half a pixel


@pytest.mark.parametrize("rows", [8, 28])
@pytest.mark.parametrize("side", [28, 29])
def test_quarter_turns_roll_rows_exactly(side, rows):
    x, layer = textures(side), LogPolar((rows, 20))
    polar = layer(x)
    for quarters in QUARTERS:
        assert relative(layer(turned(x, quarters)), polar.roll(quarters * rows // 4, -2)) < 1e-10
        assert relative(layer(turned(x, quarters).float()), polar.roll(quarters * rows // 4, -2)) < 1e-4
    assert relative(layer(turned(x)), polar.roll(-rows // 4, -2)) > 0.1  # clockwise
    off = torch.full((2, 2), 0.5, dtype=torch.float64)
    assert relative(layer(turned(x), off), layer(x, off).roll(rows // 4, -2)) > 0.1  # about a corner of a pixel
    moved = torch.tensor([[1.25, -3.5]] * 2, dtype=torch.float64)
    turned_origin = torch.tensor([[3.5, 1.25]] * 2, dtype=torch.float64)
    assert relative(layer(turned(x), turned_origin), layer(x, moved).roll(rows // 4, -2)) < 1e-10


def rotation_error(rolled, fine, roll=None):
    """Of a picture turned by so many rows before it is sampled, against rolled rows."""
    rows = 20
    layer = LogPolar((rows, 16), radius=18.0 * fine)
    side = int(40 * fine) + 1
    plain = layer(picture(side, fine=fine))
    moved = layer(picture(side, angle=2 * math.pi * rolled / rows, fine=fine))
    return relative(moved, plain.roll(rolled if roll is None else roll, -2))


@pytest.mark.parametrize("rolled", [1, 3, 7])
def test_rotation_rolls_rows_up_to_interpolation(rolled):
    """Bilinear sampling is of second order in the size of a pixel."""
    errors = [rotation_error(rolled, fine) for fine in (1, 2, 4)]
    assert errors[0] < 0.03
    assert errors[1] < errors[0] / 2.5
    assert errors[2] < errors[0] / 10
    assert rotation_error(rolled, 4, roll=-rolled) > 0.2


@pytest.mark.parametrize("columns", [1, 3])
def test_magnification_shifts_columns_up_to_interpolation(columns):
    radius, count, fine = 80.0, 20, 4
    layer = LogPolar((16, count), radius=radius)
    scale = radius ** (columns / count)
    plain, magnified = (layer(picture(161, fine=fine, scale=scale)) for scale in (1.0, scale))
    assert relative(magnified[..., columns:], plain[..., :-columns]) < 3e-3
    assert relative(magnified[..., :-columns], plain[..., columns:]) > 0.2  # the other way
    assert relative(magnified[..., columns + 1 :], plain[..., : -columns - 1]) > 0.05


def test_origin_follows_a_translation():
    x = torch.zeros(2, 1, 28, 28, dtype=torch.float64)
    x[..., 9:19, 8:20] = torch.randn(2, 1, 10, 12, dtype=torch.float64)
    layer = LogPolar(28)
    origin = torch.tensor([[0.3, -1.2], [2.0, 0.0]], dtype=torch.float64)
    shift = torch.tensor([5.0, 3.0], dtype=torch.float64)  # 5 to the right, 3 up
    moved = x.roll((-3, 5), (-2, -1))
    assert relative(layer(moved, origin + shift), layer(x, origin)) < 1e-12
    assert relative(layer(moved, origin - shift), layer(x, origin)) > 0.5
    assert relative(layer(moved, origin), layer(x, origin)) > 0.5
    between = (0.4, -1.7)
    about = torch.tensor([between], dtype=torch.float64)
    assert relative(layer(picture(61, shift=between), about), layer(picture(61))) < 0.03


def test_polar_image_has_gradients():
    x = torch.randn(1, 2, 6, 7, dtype=torch.float64, requires_grad=True)
    origin = torch.tensor([[0.21, -0.37]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LogPolar((5, 4)), (x, origin))


# convolutions


@pytest.mark.parametrize(("stride", "rows"), [(1, 7), (1, 8), (2, 8), (2, 14), (3, 9)])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_wrapped_convolution_commutes_with_rolls(kernel, stride, rows):
    layer = PolarConv2d(2, 3, kernel, stride=stride).double()
    x = torch.randn(2, 2, rows, 9, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (2, 3, rows // stride, -(-9 // stride))
    for k in range(1, rows // stride):
        assert relative(layer(x.roll(k * stride, -2)), y.roll(k, -2)) < 1e-12
    unlike = nn.Conv2d(2, 3, kernel, stride, padding=kernel // 2).double()
    unlike.load_state_dict(layer.state_dict())
    inside = slice(kernel, -kernel) if stride == 1 and rows > 2 * kernel else slice(0, 0)
    assert torch.allclose(unlike(x)[..., inside, :], y[..., inside, :])
    if kernel > 1:  # negative control: zeros along the angle
        assert relative(unlike(x.roll(stride, -2)), unlike(x).roll(1, -2)) > 0.05
    if stride > 1:  # rolls that are no multiple of the stride
        assert min(relative(layer(x.roll(1, -2)), y.roll(k, -2)) for k in range(rows // stride)) > 0.05


def test_wrapped_convolution_pads_radii_with_zeros():
    layer = PolarConv2d(1, 1, 3, bias=False).double()
    nn.init.ones_(layer.weight)
    x = torch.arange(1.0, 13.0, dtype=torch.float64).view(1, 1, 4, 3)
    expected = [
        sum(float(x[0, 0, (i + a) % 4, j + b]) for a in (-1, 0, 1) for b in (-1, 0, 1) if 0 <= j + b < 3)
        for i in range(4)
        for j in range(3)
    ]
    assert layer(x).flatten().tolist() == expected


def test_stride_that_does_not_divide_the_rows_warns_once():
    layer = PolarConv2d(1, 1, stride=2).double()
    x = torch.randn(1, 1, 7, 6, dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"stride 2 does not divide 7 rows.*Multiples of 2 keep it"):
        y = layer(x)
    assert relative(layer(x.roll(2, -2)), y.roll(1, -2)) > 0.05


# networks


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 131_959), ({"predictor": False}, 124_378), ({"variant": "S"}, 27_931)],
    ids=["PTN-B", "PCNN-B", "PTN-S"],
)
def test_parameters(options, count):
    assert sum(p.numel() for p in ptn(**options).parameters()) == count


def seasoned(**options):
    """A network in float64 with weights and statistics of every layer drawn."""
    net = season(ptn(**options))
    if net.predictor is not None:
        nn.init.ones_(net.predictor[-1].bias)
    return net


def turn_error(net, x, quarters=1):
    with torch.no_grad():
        return relative(net(turned(x, quarters)), net(x))


@pytest.mark.parametrize(("variant", "size"), [("B", 32), ("B", 16), ("S", 32), ("S", 24), ("S", 8)])
@pytest.mark.parametrize("side", [28, 29])
def test_quarter_turns_leave_the_logits_where_strides_allow(variant, size, side):
    """A quarter turn rolls by size / 4 rows: a multiple of the strides' product, 4 for B and 2 for S."""
    net = seasoned(variant=variant, predictor=False, polar_size=size)
    x = textures(side)
    assert max(turn_error(net, x, quarters) for quarters in QUARTERS) < 1e-10
    assert relative(net(x.roll(2, -1)), net(x)) > 1e-3  # the logits do depend on the image


@pytest.mark.parametrize(("variant", "kept"), [("B", ()), ("S", (2,))])
def test_published_size_breaks_quarter_turns(variant, kept):
    """28 rows: a roll by 7 is odd at the first stride; half turns, 14, pass one stride (S) and fail the second (B)."""
    net, x = seasoned(variant=variant, predictor=False), textures()
    for quarters in QUARTERS:
        error = turn_error(net, x, quarters)
        assert error < 1e-10 if quarters in kept else error > 1e-3


def test_zero_padding_along_the_angle_breaks_quarter_turns():
    net, x = seasoned(predictor=False, polar_size=32), textures()
    layers = net.classifier
    for place, conv in enumerate(layers):
        if isinstance(conv, PolarConv2d):
            plain = nn.Conv2d(conv.in_channels, conv.out_channels, 3, conv.stride, padding=1).double()
            plain.load_state_dict(conv.state_dict())
            layers[place] = plain
    assert turn_error(net, x) > 1e-3


def test_fresh_predictor_points_at_the_centre_of_what_it_samples():
    """Stride 2 on 28 pixels sees 0, 2, ..., 26, half a pixel off; 29 pixels obey the grid rule."""
    for side, place in ((28, [-0.5, 0.5]), (29, [0.0, 0.0])):
        net, x = seasoned(polar_size=32), textures(side)
        assert torch.allclose(net.origin(x), torch.tensor([place] * 2, dtype=torch.float64), atol=1e-12)
        assert turn_error(net, x) < 1e-10 if side == 29 else turn_error(net, x) > 1e-3


def test_origin_is_the_place_of_the_heat():
    """Through the network: a predictor that copies bright pixels finds the place where they are."""
    net = ptn().double().eval()
    for number, conv in enumerate(m for m in net.predictor if isinstance(m, nn.Conv2d)):
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
        middle = conv.kernel_size[0] // 2
        conv.weight.data[0, 0, middle, middle] = 1.0
        if number == 3:
            conv.bias.data -= 20.0  # the softplus of what is below 0 is its exponential: again a bump
    for side, x, y in ((28, 3.2, -4.1), (29, 0.0, 2.5)):
        point = net.origin(20 * gaussian(side, x, y, width=8.0))
        assert torch.allclose(point, torch.tensor([[x, y]], dtype=torch.float64), atol=0.02)


def test_predicted_origin_is_learned_not_built_in():
    """The predictor is an ordinary CNN: with weights of no symmetry the origin does not turn with the image."""
    net, x = seasoned(polar_size=32), textures(29)
    net.predictor[-1].weight.data.normal_()
    point, matrix = net.origin(x), torch.tensor([[0.0, -1], [1, 0]], dtype=torch.float64)
    assert point.abs().max() > 1e-2
    assert relative(net.origin(turned(x)), point @ matrix.T) > 1e-2


def test_jitter_moves_the_origin_in_training_only():
    for predictor in (False, True):
        net, x = ptn(predictor=predictor, jitter=4.0), torch.randn(200, 1, 28, 28)
        calm = net.eval().origin(x)
        noise = net.train().origin(x) - calm
        assert noise.abs().max() <= 4
        assert noise.abs().amax(0).min() > 3.5
        assert noise.mean(0).abs().max() < 0.7
        assert relative(net.train().origin(x), net.train().origin(x)) > 0.1
        assert torch.equal(net.eval().origin(x), calm)
    still = ptn(predictor=False)
    assert torch.equal(still.train().origin(x), torch.zeros(200, 2))


def test_gradients_reach_the_predictor():
    net = ptn(variant="S")
    x, labels = torch.randn(8, 1, 28, 28), torch.arange(8)
    step = torch.optim.SGD(net.parameters(), lr=1.0)
    for _ in range(2):  # the head begins with weight zero: layers before it hear nothing in the first step
        step.zero_grad()
        nn.functional.cross_entropy(net(x), labels).backward()
        assert net.predictor[-1].weight.grad.abs().max() > 0
        step.step()
    for conv in net.predictor:
        if isinstance(conv, nn.Conv2d):
            assert conv.weight.grad.abs().max() > 1e-8
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_predictor_learns_to_find_what_lies_off_centre():
    """By the centroid alone: squares at random places, their places as targets."""
    net = ptn(variant="S")
    optimiser = torch.optim.Adam(net.predictor.parameters(), lr=0.01)

    def drawn(count):
        corner = torch.randint(2, 21, (count, 2))
        x = torch.zeros(count, 1, 28, 28)
        for image, (row, column) in zip(x, corner.tolist(), strict=True):
            image[0, row : row + 5, column : column + 5] = 1.0
        return x, torch.stack([corner[:, 1] + 2 - 13.5, 13.5 - corner[:, 0] - 2], -1)

    for _ in range(60):
        x, place = drawn(32)
        optimiser.zero_grad()
        (net.origin(x) - place).square().mean().backward()
        optimiser.step()
    x, place = drawn(100)
    with torch.no_grad():
        error = (net.origin(x) - place).norm(dim=1).mean()
    assert error < 1.5 < place.norm(dim=1).mean() / 3


# torch's own tools


@pytest.mark.filterwarnings("default")  # the compiler warns about itself
@pytest.mark.parametrize("predictor", [False, True])
def test_compile_and_export(predictor):
    net, x = seasoned(variant="S", predictor=predictor).float(), torch.randn(3, 1, 28, 28)
    torch._dynamo.reset()
    with torch.no_grad():
        expected = net(x)
        assert relative(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected) < 1e-5
        program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
        assert relative(program.module()(torch.cat([x, x])), torch.cat([expected] * 2)) < 1e-5
    training = torch.compile(net.train(), fullgraph=True, backend="aot_eager")
    training(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_copies_and_precisions():
    net, x = seasoned(variant="S"), textures()
    net.predictor[-1].weight.data.normal_()
    expected = net(x)
    for twin in copies(net):
        assert torch.equal(twin(x), expected)
    assert relative(net.float()(x.float()), expected) < 1e-4
    assert not net.polar.state_dict()  # nothing but what is learned
    half = net.bfloat16()(x.bfloat16())
    assert half.dtype == torch.bfloat16
    assert relative(half, expected) < 0.3
    with torch.autocast("cpu", torch.bfloat16):
        assert relative(net.float()(x.float()), expected) < 0.3


# errors


def test_bad_arguments_of_the_centroid():
    with pytest.raises(ValueError, match=r"centroid: expected \(batch, 1, height, width\), received \(2, 3, 5, 5\)"):
        centroid(torch.zeros(2, 3, 5, 5))
    with pytest.raises(ValueError, match=r"centroid: expected floating-point maps.*x\.float"):
        centroid(torch.zeros(2, 1, 5, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="centroid: stride must be one whole number >= 1, received 0"):
        centroid(torch.zeros(2, 1, 5, 5), stride=0)
    with pytest.raises(
        ValueError, match=r"\(28, 28\) has \(14, 14\) cells of stride 2, received a heat map of \(5, 5\)"
    ):
        centroid(torch.zeros(2, 1, 5, 5), stride=2, size=(28, 28))


@pytest.mark.parametrize("size", [0, True, (4, -1), (4, 4, 4), 2.5])
def test_bad_sizes_of_the_polar_image(size):
    with pytest.raises(ValueError, match="LogPolar: size must be rows and columns"):
        LogPolar(size)


def test_bad_arguments_of_the_polar_image():
    for radius in (1.0, -3.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="LogPolar: radius must be above 1 pixel"):
            LogPolar(8, radius=radius)
    layer = LogPolar(8)
    with pytest.raises(ValueError, match=r"LogPolar: expected \(batch, channels, height, width\), received \(5, 5\)"):
        layer(torch.zeros(5, 5))
    with pytest.raises(ValueError, match=r"LogPolar: expected floating-point maps"):
        layer(torch.zeros(1, 1, 5, 5, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"expected an origin .* each of 2 images, \(2, 2\), received \(2,\)"):
        layer(torch.zeros(2, 1, 5, 5), torch.zeros(2))
    with pytest.raises(ValueError, match=r"half the diagonal of \(1, 1\) is 0.71 pixels"):
        layer(torch.zeros(2, 1, 1, 1))


def test_bad_arguments_of_the_convolution():
    with pytest.raises(ValueError, match="PolarConv2d: expected an odd kernel_size, with a centre, received 4"):
        PolarConv2d(1, 1, 4)
    with pytest.raises(ValueError, match="PolarConv2d: stride must be one whole number"):
        PolarConv2d(1, 1, 3, stride=0)
    with pytest.raises(ValueError, match=r"PolarConv2d: expected \(batch, 2, height, width\), received \(1, 3, 8, 8\)"):
        PolarConv2d(2, 1)(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="kernel_size 7 wraps around 3 rows, received 2"):
        PolarConv2d(1, 1, 7)(torch.zeros(1, 1, 2, 8))


def test_bad_arguments_of_the_network():
    with pytest.raises(ValueError, match="ptn: variant must be 'B' or 'S', received 'L'"):
        ptn(variant="L")
    with pytest.raises(ValueError, match="PolarTransformer: jitter must be >= 0 pixels, received -1"):
        ptn(jitter=-1.0)
    with pytest.raises(ValueError, match=r"PolarTransformer: expected \(batch, 1, height, width\)"):
        ptn()(torch.zeros(2, 3, 28, 28))
    assert isinstance(ptn(), PolarTransformer)
