"""Converting hand-written networks: the law end to end, widths, outputs, refusals."""

import copy

import pytest
import torch
import torch.nn.functional as F
from conftest import relative
from torch import nn

import pdoconv as pdo
from pdoconv.convert import ConversionError, conversion_report, convert
from pdoconv.convert.layers import CHANNEL_ATTRIBUTES
from pdoconv.nn.stacked import StackedConv

IMAGE = torch.zeros(1, 3, 16, 16)


class LeNet(nn.Module):
    """The classic: pooling, then linear layers over whole maps."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2, self.pool = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv2(self.pool(F.relu(self.conv1(x))))), 2)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))))


class Everything(nn.Module):
    """Chunks, gates, concatenation, squeeze and excitation, a factor of its own, channels last, both up-samplings."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 7, 2, 3, bias=False), nn.BatchNorm2d(32), nn.PReLU(32))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.depthwise, self.norm = nn.Conv2d(16, 16, 5, padding=2, groups=16), nn.LayerNorm(16)
        self.expand, self.reduce = nn.Linear(16, 64), nn.Linear(64, 16)
        self.scale = nn.Parameter(torch.full((16, 1, 1), 0.5))
        self.squeeze, self.excite = nn.Conv2d(32, 8, 1), nn.Conv2d(8, 32, 1)
        self.mix = nn.Sequential(nn.Conv2d(32, 48, 3, padding=2, dilation=2, groups=4), nn.GroupNorm(4, 48), nn.SiLU())
        self.up = nn.ConvTranspose2d(48, 24, 3, stride=2, padding=1, output_padding=1)
        self.up2 = nn.ConvTranspose2d(24 + 32, 20, 2, stride=2)
        self.instance, self.drop = nn.InstanceNorm2d(20, affine=True), nn.Dropout2d(0.1)
        self.head = nn.Conv2d(20, 4, 1)

    def forward(self, x):
        first = self.stem(x)
        a, b = self.pool(first).chunk(2, 1)
        y = self.norm(self.depthwise(a * b.sigmoid()).permute(0, 2, 3, 1))
        a = a + self.scale * self.reduce(F.gelu(self.expand(y))).permute(0, 3, 1, 2)
        y = torch.cat([a, b], 1)
        y = y * self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))).sigmoid()
        y = torch.cat([self.up(self.mix(y)), first], 1)
        return self.head(self.drop(self.instance(self.up2(y))))


class Shuffle(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.point = nn.Conv2d(3, 24, 3, 2, 1), nn.Conv2d(24, 24, 1, groups=3)
        self.depth, self.norm, self.out = (
            nn.Conv2d(24, 24, 3, 1, 1, groups=24),
            nn.BatchNorm2d(24),
            nn.Linear(24, 5),
        )

    def forward(self, x):
        x = self.stem(x)
        b, c, h, w = x.shape
        y = self.point(x).view(b, 3, c // 3, h, w).transpose(1, 2).reshape(b, c, h, w)
        return self.out((x + self.norm(self.depth(y))).relu().mean((2, 3)))


class Residual(nn.Module):
    """Any number of dimensions; the noise is predicted and subtracted."""

    def __init__(self, dim, channels=1):
        super().__init__()
        conv, norm = {1: (nn.Conv1d, nn.BatchNorm1d), 2: (nn.Conv2d, nn.BatchNorm2d), 3: (nn.Conv3d, nn.BatchNorm3d)}[
            dim
        ]
        self.body = nn.Sequential(
            conv(channels, 12, 3, padding=1), nn.ReLU(), conv(12, 12, 3, padding=1), norm(12), nn.ReLU()
        )
        self.last = conv(12, channels, 3, padding=1)

    def forward(self, x):
        return x - self.last(self.body(x))


NETS = {
    "lenet": (LeNet, (1, 1, 32, 32)),
    "everything": (Everything, (1, 3, 16, 16)),
    "shuffle": (Shuffle, (1, 3, 16, 16)),
    "residual": (lambda: Residual(2), (1, 1, 9, 9)),
}


def lively(net):
    """Statistics and factors that matter, double precision, eval mode."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
            nn.init.normal_(part.running_mean)
        elif isinstance(part, StackedConv) and part.bias is not None:
            nn.init.normal_(part.bias)
    return net.double().eval()


def law(twin, x, g):
    """Return how far a network is from turning its output along."""
    moved = twin.in_type.transform(x, g)
    y = twin(x)
    if y.dim() == 2:
        y = torch.einsum("ij,bj->bi", torch.as_tensor(twin.out_type.matrix(twin.group.matrices[g])), y)
        return relative(twin(moved), y)
    return relative(twin(moved), twin.out_type.transform(y, g))


@pytest.mark.parametrize("group", ["p4m", "p8"])
@pytest.mark.parametrize("name", NETS)
def test_law_end_to_end(name, group):
    """Exact for every quarter turn and reflection, on even and odd sides."""
    make, shape = NETS[name]
    twin = lively(convert(make(), group, example=torch.zeros(shape)))
    with torch.no_grad():
        for side in (shape[-1], shape[-1] + 4):
            if name != "lenet" or side == 32:
                x = torch.randn(2, shape[1], side, side, dtype=torch.float64)
                for g in twin.group.lattice_elements:
                    assert law(twin, x, g) < 1e-9


@pytest.mark.parametrize(("dim", "group"), [(1, pdo.group("Ci", dim=1)), (3, "O")])
def test_lines_and_volumes(dim, group):
    twin = lively(convert(Residual(dim, 2), group, example=torch.zeros(1, 2, *[6] * dim)))
    x = torch.randn(1, 2, *[6] * dim, dtype=torch.float64)
    with torch.no_grad():
        for g in range(1, twin.group.order, 5):
            assert law(twin, x, g) < 1e-9


def test_the_original_does_not_obey():
    net = lively(Everything())
    x = torch.randn(1, 3, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        assert relative(net(x.rot90(1, (2, 3))), net(x).rot90(1, (2, 3))) > 0.1


def test_a_broken_layer_is_found():
    twin = convert(Residual(2), "p4", example=torch.zeros(1, 1, 9, 9))
    assert max(conversion_report(twin).errors.values()) < 1e-5
    for part in twin.modules():
        if isinstance(part, StackedConv) and part.reads == "group":
            part.relative, part._cache = part.relative.roll(1, 0), None
    assert max(conversion_report(twin).errors.values()) > 1e-2


def test_kept_strides_break_even_sides():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 2, 1))
    kept = convert(net, "p4", example=IMAGE, strides="kept")
    assert "quarter turns are not exact; on 15 or 17 they are" in conversion_report(kept, measure=False).notes["0"]
    assert conversion_report(kept).errors["90 degrees"] > 1e-2
    assert conversion_report(convert(net, "p4", example=IMAGE)).errors["90 degrees"] < 1e-5
    odd = convert(net, "p4", example=torch.zeros(1, 3, 17, 17), strides="kept")
    assert conversion_report(odd).errors["90 degrees"] < 1e-5


def test_padding_on_one_side_is_taken_back():
    """As networks from TensorFlow pad before a stride."""
    net = nn.Sequential(nn.ConstantPad2d((0, 1, 0, 1), 0.0), nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 2, 1))
    twin = convert(net, "p4", example=IMAGE)
    assert conversion_report(twin).errors["90 degrees"] < 1e-5
    kept = convert(net, "p4", example=IMAGE, strides="kept")
    assert "more on one side" in str(conversion_report(kept))
    assert kept.report.errors["90 degrees"] > 1e-2


@pytest.mark.parametrize("name", NETS)
def test_equal_parameters(name):
    make, shape = NETS[name]
    net = make()
    twin = convert(net, "p8", example=torch.zeros(shape))
    count = sum(p.numel() for p in twin.parameters())
    assert twin.report.parameters == (sum(p.numel() for p in net.parameters()), count)
    # widths are whole numbers, of three groups in `shuffle`: a small network cannot match to the unit
    assert abs(count / twin.report.parameters[0] - 1) < (0.25 if name == "shuffle" else 0.06)


@pytest.mark.parametrize(("name", "group"), [("residual", "p3"), ("residual", "p4")])
def test_same_widths_every_time(name, group):
    """Also where each rounds at another place: a checkpoint fits the twin of another process."""
    make, shape = NETS[name]
    found = [convert(make(), group, example=torch.zeros(shape)) for _ in range(3)]
    assert len({tuple(tuple(p.shape) for p in twin.parameters()) for twin in found}) == 1


def test_equal_compute():
    for net, near in ((Everything(), 0.2), (nn.Sequential(nn.Conv2d(3, 200, 3), nn.Conv2d(200, 100, 3)), 0.02)):
        twin = convert(net, "p4", example=IMAGE, match="compute")
        before, after = twin.report.products
        assert abs(after / before - 1) < near
        assert before == counted(net, IMAGE)
        assert twin.report.parameters[1] < twin.report.parameters[0] / 2


def counted(net, x):
    """Multiply-adds by torch's own counter, for layers of products."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(x)
    return counter.get_total_flops() // 2


def test_multiply_adds_of_the_twin():
    """The number in the report is that of torch's counter on the twin, with its kernels expanded."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, groups=8), nn.ConvTranspose2d(8, 4, 2, 2))
    net.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6), nn.Linear(6, 2)))
    twin = convert(net, "p4", example=IMAGE, match="width")
    assert twin.report.products[1] == counted(pdo.export(twin), IMAGE)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.LazyLinear(6)
    )
    net(IMAGE)
    twin = convert(net, "p8", example=IMAGE)
    assert pdo.measure.multiply_adds(twin, IMAGE.shape[1:]) == twin.report.products[1]


def test_same_widths():
    twin = convert(Everything(), "p4", example=IMAGE, match="width")
    assert twin.net.mix[0].out_channels == 48
    assert twin.net.scale.shape == (16, 1, 1)


def test_vectors_turn():
    net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))
    twin = lively(convert(net, "p4m", example=torch.zeros(1, 1, 9, 9), output="vector"))
    assert twin.out_type == pdo.dihedral(4).vector(2)
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    for g in range(8):
        assert law(twin, x, g) < 1e-10
    twin.output = "invariant"
    assert law(twin, x, 1) > 0.1


def test_features_on_the_group():
    twin = lively(convert(Residual(2), "p4m", example=torch.zeros(1, 1, 9, 9), output="regular"))
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    assert twin(x).shape == (2, 8, 9, 9)
    for g in range(8):
        assert law(twin, x, g) < 1e-10


def test_output_of_a_field_type():
    field = pdo.cyclic(8).trivial(1) + pdo.cyclic(8).irrep(2, 1)
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    twin = lively(convert(net, "p8", example=torch.zeros(1, 1, 9, 9), output=field))
    x = torch.randn(2, 1, 9, 9, dtype=torch.float64)
    for g in (2, 4, 6):
        assert law(twin, x, g) < 1e-10


def test_original_stays_as_it_is():
    net = Everything().train()
    net.stem.eval()
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    convert(net, "p4", example=IMAGE)
    assert all(torch.equal(t, net.state_dict()[name]) for name, t in before.items())
    assert [m.training for m in net.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_twin_trains_and_copies():
    torch.manual_seed(0)
    twin = convert(Everything(), "p4", example=IMAGE).train()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in twin.modules())
    x, goal = torch.randn(4, 3, 16, 16), torch.randn(4, 4, 16, 16)
    optimizer, losses = torch.optim.Adam(twin.parameters(), 1e-2), []
    for _ in range(12):
        losses.append(F.mse_loss(twin(x), goal))
        optimizer.zero_grad()
        losses[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in twin.parameters())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    other = convert(Everything(), "p4", example=IMAGE)
    other.load_state_dict(twin.state_dict())
    assert relative(other.eval()(x), twin.eval()(x)) < 1e-5
    assert relative(copy.deepcopy(twin)(x), twin(x)) < 1e-5


@pytest.mark.parametrize("name", NETS)
def test_exports(name):
    """Ordinary layers of the same outputs, batch normalisation folded, kernels expanded once."""
    make, shape = NETS[name]
    twin = lively(convert(make(), "p4m", example=torch.zeros(shape)))
    plain = pdo.export(twin)
    x = torch.randn(2, *shape[1:], dtype=torch.float64)
    assert relative(plain(x), twin(x)) < 1e-12
    assert not any(isinstance(part, StackedConv | nn.BatchNorm2d) for part in plain.modules())
    program = torch.export.export(plain.float(), (x.float(),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    more = torch.randn(5, *shape[1:])
    assert relative(program.module()(more), plain(more)) < 1e-5


def test_saves_and_loads(tmp_path):
    twin = convert(LeNet(), "p4", example=torch.zeros(1, 1, 32, 32))
    pdo.save(twin, tmp_path / "twin.safetensors")
    other = convert(LeNet(), "p4", example=torch.zeros(1, 1, 32, 32))
    pdo.load(tmp_path / "twin.safetensors", model=other)
    x = torch.randn(2, 1, 32, 32)
    assert torch.equal(other.eval()(x), twin.eval()(x))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.attention = nn.Conv2d(3, 16, 4, 4), nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        y = self.conv(x).flatten(2).transpose(1, 2)
        return self.attention(y, y, y, need_weights=False)[0].mean(1)


class Numbers(nn.Module):
    """Code that writes a number of channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 2, 1)

    def forward(self, x):
        return self.out(self.conv(x) + torch.ones(1, 16, 1, 1))


class Sizes(Numbers):
    def forward(self, x):
        y = self.conv(x)
        return self.out(y.reshape(-1, 16, *y.shape[2:]))


def test_numbers_in_the_code_are_kept():
    twin = convert(Numbers(), "p4", example=IMAGE)
    assert twin.net.conv.out_channels == 16
    with pytest.raises(ConversionError, match=r"behind 'conv': .*wants match='width'"):
        convert(Sizes(), "p4", example=IMAGE)
    assert convert(Sizes(), "p4", example=IMAGE, match="width")(IMAGE).shape == (1, 2, 14, 14)


REFUSED = {
    "attention: MultiheadAttention mixes places": (Attention(), IMAGE),
    r"0: kernel_size=\(1, 3\) differs by axis": (nn.Sequential(nn.Conv2d(3, 8, (1, 3)), nn.Conv2d(8, 2, 1)), IMAGE),
    r"0: stride=\(1, 2\) differs by axis": (nn.Sequential(nn.Conv2d(3, 8, 3, (1, 2))), IMAGE),
    "1: PixelShuffle mixes places": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2)), IMAGE),
    r"1: output_padding=\(1, 1\) breaks": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 2, 3, 2, 0, 1)),
        IMAGE,
    ),
    "1: LayerNorm over space": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.LayerNorm([8, 14, 14])), IMAGE),
    "1: reads places, not channels": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(14, 5)), IMAGE),
    r"2: reads flattened maps of sides \(14, 6\)": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 6, 5)),
        torch.zeros(1, 3, 16, 8),
    ),
    "2: has a parameter for each place": (
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.BatchNorm1d(8 * 196)),
        IMAGE,
    ),
    "does not run on the example of shape": (nn.Conv2d(4, 2, 3), IMAGE),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals_name_path_and_reason(message):
    net, example = REFUSED[message]
    with pytest.raises(ConversionError, match=message):
        convert(net, "p4", example=example)


def test_functional_convolution_is_refused():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

        def forward(self, x):
            return F.conv2d(x, self.weight)

    with pytest.raises(ConversionError, match="1: calls a convolution as a function"):
        convert(nn.Sequential(nn.ReLU(), Functional()), "p4", example=IMAGE)


def test_overrides():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.PixelShuffle(2), nn.Conv2d(2, 4, 1))
    up = nn.Sequential(nn.Conv2d(8, 2, 1), nn.Upsample(scale_factor=2))
    twin = convert(net, "p4", example=IMAGE, override={"1": up})
    assert twin.net[1] is up
    assert conversion_report(twin).errors["90 degrees"] < 1e-5
    assert any(row.path == "1" and "by the caller" in row.becomes for row in twin.report.rows)
    made = convert(net, "p4", example=IMAGE, override={"1": lambda old: copy.deepcopy(up)})
    assert isinstance(made.net[1], nn.Sequential)
    kept = convert(net, "p4", example=IMAGE, override={"1": "keep"})
    assert conversion_report(kept).errors["90 degrees"] > 1e-2
    with pytest.raises(ValueError, match=r"override names \['9'\]"):
        convert(net, "p4", example=IMAGE, override={"9": "keep"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"match": "size"}, "match must be one of"),
        ({"output": "scalar"}, "output must be 'invariant'"),
        ({"strides": 2}, "strides must be"),
        ({"example": torch.zeros(3, 3)}, "expected an example"),
        ({"example": torch.zeros(0, 3, 8, 8)}, "expected an example"),
        ({"group": "O"}, "Unknown group 'O'"),
        ({"group": pdo.octahedral()}, "finite group in 2 dimensions"),
        ({"group": "SO2"}, "finite group in 2 dimensions"),
        ({"model": "resnet18"}, "expected a torch module"),
        ({"output": "vector"}, "2 channels a vector, received 3"),
    ],
)
def test_bad_arguments(arguments, message):
    good = {"model": nn.Conv2d(3, 3, 3), "group": "p4", "example": IMAGE}
    with pytest.raises(ValueError, match=message):
        convert(**good | arguments)


def test_report_reads_well():
    text = str(conversion_report(convert(Everything(), "p4", example=IMAGE)))
    assert "stem.0" in text
    assert "halving, then lifting convolution 7x7" in text
    assert "upsampling by 2, then group convolution 3x3" in text
    assert "90 degrees" in text
    with pytest.raises(ValueError, match="a network that convert"):
        conversion_report(nn.Conv2d(1, 1, 1))


def test_other_filters():
    twin = convert(Residual(2), "p4", example=torch.zeros(1, 1, 9, 9), filters=pdo.filters.rotated())
    assert twin.net.body[2].weight.shape[-1] == 9
    chosen = convert(
        Residual(2),
        "p4",
        example=torch.zeros(1, 1, 9, 9),
        filters=lambda dim, size: pdo.filters.default(dim, size),
    )
    assert chosen.net.body[2].weight.shape[-1] == 6


def test_own_forward_of_a_norm_is_kept():
    """A subclass with channels in front, as ConvNeXt has it."""

    class ChannelsFirst(nn.LayerNorm):
        def forward(self, x):
            return F.layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps).permute(
                0, 3, 1, 2
            )

    twin = convert(
        nn.Sequential(nn.Conv2d(3, 16, 3), ChannelsFirst(16), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 2, 1)),
        "p4",
        example=IMAGE,
    )
    width = twin.net[0].out_channels
    assert width < 16
    assert isinstance(twin.net[1], ChannelsFirst)
    assert getattr(twin.net[1], CHANNEL_ATTRIBUTES[2]) == (width,)
    assert conversion_report(twin).errors["90 degrees"] < 1e-5


def test_twice_used_layers_and_several_outputs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.block, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1), None
            self.head = nn.Conv2d(16, 2, 1)

        def forward(self, x, bias=None):
            y = self.block(self.block(self.stem(x)).relu())
            y = y if bias is None else y + bias
            return {"map": self.head(y), "size": y.mean(), "pair": (y.flatten(1).sum(1), 3)}

    twin = convert(Net(), "p4", example=IMAGE)
    assert twin.net.block.in_channels == twin.net.block.out_channels < 16
    found = twin(torch.randn(2, 3, 16, 16), bias=torch.randn(2, 1, 1, 1))
    assert found["map"].shape == (2, 2, 16, 16)
    assert found["pair"][0].shape == (2,)
    assert found["pair"][1] == 3
    assert found["size"].shape == ()
