"""Networks that restore images: DnCNN, TNRD and the equivariant neural PDE."""

import copy

import numpy as np
import pytest
import torch
from conftest import copies, relative, season
from torch import nn

import pdoconv as pdo
from pdoconv.models.correction import Correction
from pdoconv.models.dncnn import dncnn
from pdoconv.models.pde_restorer import pde_restorer
from pdoconv.models.tnrd import Influence, cosines, folded, mirrored, tnrd

MAKERS = {"dncnn": dncnn, "tnrd": tnrd, "pde_restorer": pde_restorer}
GROUPS = {name: pdo.group(name) for name in ("C8", "D4", "D8")}


def parameters(net):
    return sum(p.numel() for p in net.parameters())


def disturbed(net):
    """Weights away from where they start, and biases that are not zero; float64, eval mode."""
    net = season(net)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize(("channels", "shape"), [((1, 1), (12, 12)), ((2, 1), (9, 14)), ((3, 3), (8, 11))], ids=str)
def test_shapes_and_gradients(name, channels, shape):
    net = MAKERS[name](in_channels=channels[0], out_channels=channels[1])
    x = torch.rand(2, channels[0], *shape)
    y = net(x)
    assert y.shape == (2, channels[1], *shape)
    y.square().sum().backward()
    for key, p in net.named_parameters():
        if not (name == "tnrd" and key.endswith("log_reaction")):  # the first step has nothing to react to
            assert p.grad is not None, key
            assert p.grad.abs().max() > 0, key


@pytest.mark.parametrize("name", MAKERS)
def test_corrects_the_image_and_looks_at_the_mask(name):
    net, x = disturbed(MAKERS[name](in_channels=2)), torch.rand(2, 2, 16, 16, dtype=torch.float64)
    flipped = torch.stack([x[:, 0], 1 - x[:, 1]], 1)
    assert relative(net(flipped), net(x)) > 1e-6
    for p in net.parameters():
        if name != "tnrd":
            p.data.zero_()
        elif p.shape != net.steps[0].weight.shape:
            p.data.fill_(0 if p.dim() else -torch.inf)  # no influence, no reaction
    assert torch.equal(net(x), x[:, :1])


@pytest.mark.parametrize("name", MAKERS)
def test_a_picture_does_not_depend_on_its_batch(name):
    net, x = disturbed(MAKERS[name]()), torch.rand(3, 1, 10, 13, dtype=torch.float64)
    assert relative(net(x)[1:2], net(x[1:2])) < 1e-13


@pytest.mark.parametrize("name", MAKERS)
def test_conversions_and_copies(name):
    net, x = MAKERS[name]().eval(), torch.rand(1, 1, 10, 10)
    y = net(x)
    assert set(net.state_dict()) == {key for key, _ in net.named_parameters()} | {
        key for key, _ in net.named_buffers() if "running" in key or "batches" in key
    }
    for twin in copies(net):
        assert torch.equal(twin(x), y)
    fresh = MAKERS[name]()
    fresh.load_state_dict(net.state_dict())
    assert torch.equal(fresh.eval()(x), y)
    assert relative(copy.deepcopy(net).double()(x.double()), y) < 1e-5
    assert relative(net.double().float().double()(x.double()), y) < 1e-5


@pytest.mark.parametrize("name", ["tnrd", "pde_restorer"])
def test_compiles_and_exports_whole(name):
    net, x = MAKERS[name]().eval(), torch.rand(1, 1, 10, 12)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    assert relative(compiled(x), net(x)) < 1e-5
    exported = torch.export.export(net, (x,)).module()
    assert relative(exported(x), net(x)) < 1e-5


def test_parameter_counts():
    assert parameters(dncnn(depth=17, width=64)) == 556_032  # DnCNN-S
    assert parameters(tnrd()) == 5 * (24 * 24 + 24 * 63 + 1)
    assert parameters(pde_restorer()) * 10 <= parameters(dncnn())


# equivariance


def worst_violation(net, group, shape=(11, 14), channels=1):
    x = torch.rand(2, channels, *shape, dtype=torch.float64)
    image, restored = group.trivial(channels), group.trivial(1)
    y = net(x)
    return max(
        relative(net(image.transform(x, g)) - x.mean(), restored.transform(y, g) - x.mean())
        for g in group.lattice_elements
    )


@pytest.mark.parametrize("shape", [(11, 11), (12, 12), (9, 14)], ids=str)
@pytest.mark.parametrize("name", GROUPS)
def test_pde_restorer_keeps_the_lattice_symmetries(name, shape):
    net = disturbed(pde_restorer(group=GROUPS[name], fields=2, in_channels=2))
    assert worst_violation(net, GROUPS[name], shape, channels=2) < 1e-12


def test_negative_controls_of_equivariance():
    assert worst_violation(disturbed(dncnn()), GROUPS["D4"]) > 1e-2
    net = disturbed(pde_restorer(group=GROUPS["C8"], fields=2))
    assert worst_violation(net, GROUPS["D4"]) > 1e-3  # it knows no mirrors
    net = disturbed(pde_restorer(group=GROUPS["D4"], fields=2))
    layer = next(part for part in net.modules() if isinstance(part, pdo.PDOConv2d) and part.in_type.kind == "regular")
    dense = nn.Conv2d(16, layer.out_type.channels, layer.kernel_size, padding="same", dtype=torch.float64)
    for parent in net.modules():
        for key, part in parent.named_children():
            if part is layer:
                setattr(parent, key, dense)
    assert worst_violation(net, GROUPS["D4"]) > 1e-3


# reaction diffusion


def potential(influence, z):
    r"""$\rho_i(z) = \int_0^z \phi_i$ for every channel, by the trapezoidal rule, which is exact between the knots."""
    channels, knots = influence.values.shape
    places = np.linspace(-influence.reach, influence.reach, knots)
    out = torch.zeros_like(z)
    for c in range(channels):
        values = influence.values[c].detach().numpy()
        at_knots = np.concatenate([[0], np.cumsum((values[1:] + values[:-1]) / 2 * np.diff(places))])
        for at in np.ndindex(*z[:, c].shape):
            where = (at[0], c, *at[1:])
            left = min(max(int(np.searchsorted(places, float(z[where].detach()), "right")) - 1, 0), knots - 2)
            slope = (values[left + 1] - values[left]) / (places[left + 1] - places[left])
            step = z[where] - places[left]
            out[where] = at_knots[left] + values[left] * step + slope * step * step / 2
    return out


@pytest.mark.parametrize("channels", [1, 2])
def test_a_step_is_the_gradient_of_an_energy(channels):
    """Up to the border, where the adjoint of the continuation counts; without it the law fails."""
    step = disturbed(tnrd(steps=1, filters=3, knots=9, in_channels=channels, out_channels=channels)).steps[0]
    u = torch.rand(2, channels, 6, 7, dtype=torch.float64, requires_grad=True)
    f, known = torch.rand(2, channels, 6, 7, dtype=torch.float64), torch.rand(2, 1, 6, 7, dtype=torch.float64)
    responses = nn.functional.conv2d(mirrored(u, 2), step.kernels())
    energy = potential(step.influence, responses).sum() / 25
    (smoothing,) = torch.autograd.grad(energy, u, retain_graph=True)
    assert smoothing.abs().max() > 1e-3
    assert relative(step.smoothing(u), smoothing) < 1e-10
    energy = energy + step.log_reaction.exp() / 2 * (known * (u - f).square()).sum()
    (slope,) = torch.autograd.grad(energy, u)
    assert relative(u - step(u, f, known), slope) < 1e-10
    answers = step.influence(responses)
    cropped = nn.functional.conv_transpose2d(answers, step.kernels())[:, :, 2:-2, 2:-2] / 25
    assert relative(cropped, smoothing) > 1e-3
    assert relative(cropped[:, :, 2:-2, 2:-2], smoothing[:, :, 2:-2, 2:-2]) < 1e-10


def test_filters_have_zero_mean_and_unit_norm():
    kernels = disturbed(tnrd(out_channels=2, in_channels=2)).steps[0].kernels()
    assert kernels.shape == (24, 2, 5, 5)
    assert kernels.sum((2, 3)).abs().max() < 1e-13
    assert (kernels.flatten(1).norm(dim=1) - 1).abs().max() < 1e-13
    flat = torch.full((1, 1, 8, 8), 0.3, dtype=torch.float64)
    assert (tnrd().double()(flat) - flat).abs().max() < 1e-8  # nothing to smooth: influences are 0 at 0


def test_influence_is_linear_between_knots_and_beyond():
    influence = Influence(3, knots=7, reach=0.9).double()
    influence.values.data.normal_()
    z = torch.linspace(-1.5, 1.5, 201, dtype=torch.float64).view(1, 1, 1, -1).expand(2, 3, 1, -1)
    places = np.linspace(-0.9, 0.9, 7)
    for c in range(3):
        values = influence.values[c].detach().numpy()
        expected = np.interp(z[0, 0, 0], places, values)
        low, high = z[0, 0, 0].numpy() < -0.9, z[0, 0, 0].numpy() > 0.9
        expected[low] = values[0] + (z[0, 0, 0].numpy()[low] + 0.9) * (values[1] - values[0]) / 0.3
        expected[high] = values[-1] + (z[0, 0, 0].numpy()[high] - 0.9) * (values[-1] - values[-2]) / 0.3
        assert relative(influence(z)[1, c, 0], expected) < 1e-12
    z = z[:1, :, :, ::20].clone().requires_grad_()
    assert torch.autograd.gradcheck(influence, (z + 0.01,))
    assert torch.autograd.gradcheck(
        lambda values: torch.func.functional_call(influence, {"values": values}, (z.detach(),)),
        (influence.values.detach().clone().requires_grad_(),),
    )


def test_influence_passes_on_what_is_not_finite():
    z = torch.tensor([0.1, torch.nan, torch.inf, -1e9]).view(1, 1, 1, 4)
    found = Influence(1)(z).isfinite().flatten()
    assert found.tolist() == [True, False, False, True]


@pytest.mark.parametrize("name", MAKERS)
def test_under_autocast(name):
    net, x = MAKERS[name]().eval(), torch.rand(1, 1, 12, 12)
    y = net(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert 0 < relative(net(x), y) < 0.03


def test_continuation_and_its_adjoint():
    u, y = torch.randn(1, 2, 5, 6, dtype=torch.float64), torch.randn(1, 2, 9, 10, dtype=torch.float64)
    assert mirrored(u, 2).shape == y.shape
    assert np.array_equal(mirrored(u, 2), np.pad(u.numpy(), ((0, 0), (0, 0), (2, 2), (2, 2)), "symmetric"))
    assert float((mirrored(u, 2) * y).sum()) == pytest.approx(float((u * folded(y, 2)).sum()), abs=1e-12)
    basis = cosines(5)
    assert (basis @ basis.T - torch.eye(25)).abs().max() < 1e-14
    assert (basis[1:].sum(1)).abs().max() < 1e-14


def test_confidence_says_where_to_react():
    net, x = tnrd(steps=2, in_channels=2).double(), torch.rand(1, 2, 9, 9, dtype=torch.float64)
    certain, plain = x.clone(), tnrd(steps=2).double()
    plain.load_state_dict(net.state_dict())
    certain[:, 1] = 1
    assert relative(net(certain), plain(x[:, :1])) < 1e-14
    assert relative(net(x), plain(x[:, :1])) > 1e-5


# errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: dncnn(depth=2), "depth >= 3 and width >= 1, received 2 and 32"),
        (lambda: dncnn(out_channels=3), "out_channels <= in_channels, received 3 and 1"),
        (lambda: Correction(nn.Identity(), 1, 0), "received 0 and 1"),
        (lambda: dncnn()(torch.zeros(1, 2, 8, 8)), r"expected \(batch, 1, height, width\), received \(1, 2, 8, 8\)"),
        (lambda: tnrd(steps=0), "at least one step, filter and channel"),
        (lambda: tnrd(kernel_size=4), "odd and at least 3, received 4"),
        (lambda: tnrd(knots=62), "odd number of at least 3 knots"),
        (lambda: tnrd(in_channels=3), "one more for the confidence"),
        (lambda: tnrd()(torch.zeros(1, 8, 8)), r"received \(1, 8, 8\)"),
        (lambda: tnrd()(torch.zeros(1, 1, 1, 8)), "sides of at least 2 pixels"),
        (lambda: pde_restorer(steps=0), "at least 1"),
        (lambda: pde_restorer(stages=0), "at least 1"),
        (lambda: pde_restorer(fields=0), "at least 1"),
        (lambda: pde_restorer(group=pdo.group("O")), "group of the plane"),
        (lambda: pde_restorer(group=pdo.so2()), "regular fields"),
        (lambda: pde_restorer(out_channels=2), "out_channels <= in_channels"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
