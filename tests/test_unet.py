"""U-Net and denoiser: the law end to end, the plain network as a special case, sides, export, learning."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from conftest import copies, relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.filters import rotated
from pdoconv.models import dncnn
from pdoconv.models.denoiser import denoiser
from pdoconv.models.unet import UNet

C4, C8, D4, CUBE = pdo.cyclic(4), pdo.cyclic(8), pdo.dihedral(4), pdo.octahedral()


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def law(net, side, elements=None):
    """Largest relative error over lattice symmetries."""
    group = net.in_type.group
    x = noise(1, net.in_type.channels, *(side,) * group.dim)
    errors = []
    with torch.no_grad():
        y = net(x)
        for g in elements or group.lattice_elements[1:]:
            errors.append(relative(net(net.in_type.transform(x, g)), net.out_type.transform(y, g)))
    return max(errors)


NETS = {
    "p8": lambda: UNet(C8, classes=3, widths=(1, 2, 2), kernel_size=3, upsampling="transposed", pooling="max"),
    "p8, 5x5, two stages": lambda: UNet(C8, 2, widths=(2, 2)),
    "p4m, interpolated": lambda: UNet(D4, classes=3, widths=(1, 2, 1), kernel_size=3, upsampling="interpolate"),
    "p4m, maxima": lambda: UNet(D4, widths=(1, 1, 2), pooling="max", norm=False),
    "p4, rotated pixels": lambda: UNet(
        C4, classes=4, widths=(2, 2, 3), kernel_size=3, filters=rotated(), upsampling="transposed"
    ),
    "p8, vectors": lambda: UNet(C8, widths=(1, 2), output=C8.vector(2) + C8.trivial(1)),
    "line": lambda: UNet(pdo.reflection(), widths=(2, 3, 4), output=pdo.reflection().regular(1)),
    "interpolated filters": lambda: UNet(C8, widths=(1, 1), kernel_size=3, filters=pdo.filters.interpolated()),
}


@pytest.mark.parametrize("name", NETS)
def test_quarter_turns_and_flips_are_exact_end_to_end(name):
    net = season(NETS[name]())
    for side in (net.unit, 3 * net.unit):
        assert law(net, side) < 1e-11


@pytest.mark.parametrize("upsampling", ["transposed", "interpolate"])
def test_all_rotations_of_the_cube(upsampling):
    net = season(UNet(CUBE, classes=2, widths=(1, 1), kernel_size=3, upsampling=upsampling))
    assert len(CUBE.lattice_elements) == 24
    assert law(net, 4) < 1e-11
    vectors = season(UNet(CUBE, widths=(2, 2), kernel_size=3, norm=False, output=CUBE.vector(1)))
    assert law(vectors, 4, (1, 5, 9)) < 1e-11


class Shifted(nn.Module):
    """Windows that begin one pixel outside: the coarse grid has another centre."""

    def forward(self, x):
        return F.max_pool2d(F.pad(x, (1, 0, 1, 0)), 2)


def test_what_breaks_the_law():
    """Negative controls: the plain network, grids of two centres, orientations weighed differently at the end."""
    x = noise(1, 1, 8, 8)

    def error(net):
        with torch.no_grad():
            return relative(net(x.rot90(1, (2, 3))), net(x).rot90(1, (2, 3)))

    assert error(season(UNet(pdo.cyclic(1), widths=(4, 8), kernel_size=3, filters=rotated()))) > 0.1
    net = season(UNet(C4, widths=(2, 2), kernel_size=3))
    assert error(net) < 1e-11
    pool, net.down[1][0] = net.down[1][0], Shifted()
    assert error(net) > 0.01
    net.down[1][0] = pool
    head = nn.Conv2d(8, 2, 1).double()
    head.weight.data = net.head.kernel().detach().clone()
    head.weight.data[:, 0] += 0.5
    net.head = head
    assert error(net) > 0.01


def plain_unet(widths, classes):
    """The ordinary network written out: torch's layers in the order of a state_dict."""

    def stage(into, out):
        layers = []
        for before in (into, out):
            layers += [nn.Conv2d(before, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        return layers

    down = [nn.Sequential(*stage(1, widths[0]))]
    down += [nn.Sequential(nn.MaxPool2d(2), *stage(a, b)) for a, b in pairwise(widths)]
    up = [nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairwise(widths)][::-1]
    back = [nn.Sequential(*stage(2 * a, a)) for a in widths[-2::-1]]
    return nn.ModuleDict(
        {
            "down": nn.ModuleList(down),
            "up": nn.ModuleList(up),
            "back": nn.ModuleList(back),
            "head": nn.Conv2d(widths[0], classes, 1),
        }
    )


def test_without_symmetry_it_is_the_ordinary_network():
    widths = (3, 5, 7)
    layout = {"upsampling": "transposed", "pooling": "max"}
    net = UNet(pdo.cyclic(1), classes=4, widths=widths, kernel_size=3, filters=rotated(), **layout).double()
    plain = plain_unet(widths, 4).double()
    for values in plain.parameters():
        values.data.normal_()
    state = plain.state_dict()
    for key, value in net.state_dict().items():
        theirs = state[key].transpose(0, 1) if key.startswith("up") and key.endswith("weight") else state[key]
        value.copy_(theirs.reshape(value.shape))
    x = noise(2, 1, 8, 12)
    y, kept = x, []
    for stage in plain["down"]:
        y = stage(y)
        kept.append(y)
    y = kept.pop()
    for up, stage in zip(plain["up"], plain["back"], strict=True):
        y = stage(torch.cat([up(y), kept.pop()], 1))
    assert relative(net(x), plain["head"](y)) < 1e-12
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in plain.parameters())


def test_sides_and_other_bad_inputs():
    net = UNet(C4, widths=(1, 1, 1), kernel_size=3)
    assert net.unit == 4
    assert net(torch.randn(2, 1, 8, 12)).shape == (2, 2, 8, 12)
    with pytest.raises(ValueError, match=r"multiples of 4, received \(8, 13\): crop or pad to 12 or 16, alike on both"):
        net(torch.randn(2, 1, 8, 13))
    with pytest.raises(ValueError, match=r"received \(3, 8\): crop or pad to 4, alike"):
        net(torch.randn(2, 1, 3, 8))
    with pytest.raises(ValueError, match=r"expected \(batch, 1, height, width\), received \(2, 3, 8, 8\)"):
        net(torch.randn(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"expected \(batch, 1, depth, height, width\)"):
        UNet(CUBE, widths=(1, 1), kernel_size=3)(torch.randn(2, 1, 8, 8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": pdo.so2()}, "expected a finite group"),
        ({"widths": (4,)}, "at least 2 stages, each at least 1"),
        ({"widths": (4, 0)}, "at least 2 stages, each at least 1"),
        ({"kernel_size": 4}, "expected an odd kernel_size"),
        ({"upsampling": "bilinear"}, "upsampling must be one of"),
        ({"pooling": "strided"}, "pooling one of"),
        ({"output": C8.trivial(2)}, "the output must be of C4"),
        ({"dropout": 1.0}, r"p must be in \[0, 1\)"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(**{"group": C4, "widths": (1, 1), **options})


def test_by_name():
    net = pdo.models.create("pdo-unet", group="p4", classes=3, widths=(1, 2))
    assert isinstance(net, UNet)
    assert net.in_type.group == C4
    x = torch.randn(1, 1, 8, 8)
    other = UNet(C4, classes=3, widths=(1, 2))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net.eval()(x), other.eval()(x))
    assert pdo.models.create("pdo-denoiser", group="p4", fields=2)(x).shape == x.shape


def test_dropout_drops_fields_in_training_alone():
    net = UNet(C4, widths=(2, 4, 4), kernel_size=3, dropout=0.5)
    drops = [m for m in net.modules() if isinstance(m, pdo.FieldDropout)]
    assert [d.in_type.fields for d in drops] == [4, 4, 4]
    x = torch.randn(1, 1, 8, 8)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))


def test_copies_and_gradients():
    net = UNet(C4, classes=3, widths=(2, 2), kernel_size=3)
    x = torch.randn(2, 1, 8, 8)
    F.cross_entropy(net(x), torch.randint(0, 3, (2, 8, 8))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    for copy in copies(net):
        assert torch.equal(copy(x), net(x))


def test_learns():
    """A bright disc in noise is found after a few steps, and what was learned holds for every orientation."""
    net = UNet(C8, classes=2, widths=(1, 2), kernel_size=3)
    optimizer = torch.optim.Adam(net.parameters(), 0.03)
    generator, losses = torch.Generator().manual_seed(0), []
    grid = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij"), -1).float()
    for _ in range(25):
        centres = torch.rand(8, 1, 1, 2, generator=generator) * 8 + 4
        inside = (grid - centres).norm(dim=-1) < 3
        x = inside[:, None].float() + 0.3 * torch.randn(8, 1, 16, 16, generator=generator)
        loss = F.cross_entropy(net(x), inside.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3
    net.eval()
    with torch.no_grad():
        assert relative(net(x.rot90(1, (2, 3))), net(x).rot90(1, (2, 3))) < 1e-4


def test_denoiser_keeps_the_law_and_learns():
    net = season(denoiser(group=D4, depth=4, fields=2))
    x = torch.rand(1, 1, 9, 10, dtype=torch.float64)
    with torch.no_grad():
        for move in (lambda z: z.rot90(1, (2, 3)), lambda z: z.flip(3), lambda z: z.transpose(2, 3)):
            assert relative(net(move(x)), move(net(x))) < 1e-12
        plain = season(denoiser(group=pdo.cyclic(1), depth=4, fields=4, kernel_size=3, filters=rotated()))
        assert relative(plain(x.rot90(1, (2, 3))), plain(x).rot90(1, (2, 3))) > 1e-3  # negative control
    net = denoiser(group=C8, depth=3, fields=2, kernel_size=3)
    optimizer, losses = torch.optim.Adam(net.parameters(), 0.01), []
    clean = torch.tensor(pdo.data.synthetic(1, 64)[0] / 255.0, dtype=torch.float32)[None, None]
    for _ in range(40):
        loss = F.mse_loss(net(clean + 0.1 * torch.randn_like(clean)), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 0.009  # what the noise alone makes
    assert sum(losses[-5:]) / 5 < 0.005


def test_denoiser_without_symmetry_is_dncnn():
    ours = denoiser(group=pdo.cyclic(1), fields=32, kernel_size=3, filters=rotated())
    theirs = dncnn()
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        value.copy_(state[key].reshape(value.shape))
    x = torch.rand(1, 1, 12, 12)
    assert relative(ours(x), theirs(x)) < 1e-5
    coloured = denoiser(depth=3, fields=1, in_channels=4, out_channels=3)
    assert coloured(torch.rand(1, 4, 9, 9)).shape == (1, 3, 9, 9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 2}, "depth >= 3"),
        ({"kernel_size": 4}, "an odd kernel_size"),
        ({"fields": 0}, "fields >= 1"),
        ({"group": pdo.so2()}, "expected a finite group"),
        ({"group": CUBE}, "use GroupConv3d"),
        ({"out_channels": 2}, "1 <= out_channels <= in_channels"),
    ],
)
def test_denoiser_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        denoiser(**options)
