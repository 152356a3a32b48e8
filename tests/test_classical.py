"""The heat equation, mean curvature motion, Perona-Malik and total variation flow against what is known of them."""

import math

import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.grid import move
from pdoconv.pde.classical import heat, mean_curvature, perona_malik, tv_flow
from pdoconv.pde.invariants import polynomials
from pdoconv.pde.jets import PADDINGS, Derivatives

FLOWS = {
    "heat": lambda u, **o: heat(u, 1.0, **o),
    "heat, implicit": lambda u, **o: heat(u, 1.0, implicit=True, **o),
    "mean curvature": lambda u, **o: mean_curvature(u, 1.0, **o),
    "Perona-Malik": lambda u, **o: perona_malik(u, 1.0, 0.3, **o),
    "Perona-Malik, exponential": lambda u, **o: perona_malik(u, 1.0, 0.3, exponential=True, **o),
    "total variation": lambda u, **o: tv_flow(u, 0.3, eps=0.05, **o),
}
BALANCED = [name for name in FLOWS if name != "mean curvature"]


def radius(n):
    line = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return (line**2 + line[:, None] ** 2).sqrt()


def wave(n, kx, ky):
    x = 2 * math.pi * torch.arange(n, dtype=torch.float64) / n
    return torch.cos(kx * x + ky * x[:, None])[None, None]


@pytest.mark.parametrize("implicit", [False, True])
def test_heat_is_the_gaussian_semigroup_to_the_order_of_the_scheme(implicit):
    """A wave decays by exp(-|k|^2 t): second order in space, first in time."""
    kx, ky, time = 2, 3, 0.01

    def error(n, steps):
        h = 2 * math.pi / n
        u = wave(n, kx, ky)
        found = heat(u, time / h**2, steps=steps, padding="circular", implicit=implicit)
        return relative(found, math.exp(-(kx**2 + ky**2) * time) * u)

    space = [error(n, n**2) for n in (16, 32)]  # steps as short as h^2: both errors fall alike
    assert 3.7 < space[0] / space[1] < 4.3

    h = 2 * math.pi / 16
    rate = sum(2 * math.cos(k * h) - 2 for k in (kx, ky)) / h**2 * time
    ahead = []
    for steps in (40, 80):
        factor = (1 - rate / steps) ** -steps if implicit else (1 + rate / steps) ** steps
        found = heat(wave(16, kx, ky), time / h**2, steps=steps, padding="circular", implicit=implicit)
        assert relative(found, factor * wave(16, kx, ky)) < 1e-12
        ahead.append(relative(found, math.exp(rate) * wave(16, kx, ky)))
    assert 1.9 < ahead[0] / ahead[1] < 2.1


def test_heat_of_a_gaussian_is_a_wider_one():
    u = torch.exp(-(radius(65) ** 2) / (2 * 36))[None, None]
    expected = 36 / (36 + 2 * 14) * torch.exp(-(radius(65) ** 2) / (2 * (36 + 2 * 14)))[None, None]
    assert relative(heat(u, 14.0, steps=300, padding="zeros"), expected) < 5e-3
    assert relative(heat(u, 7.0, steps=300, padding="zeros"), expected) > 0.1


def test_mean_curvature_shrinks_circles():
    """A function f(|x|^2) becomes f(|x|^2 + 2t): level circles shrink by r^2 = r0^2 - 2t; second order."""
    errors = []
    for n in (24, 48):
        h, s, t = 32 / n, 5.0, 4.0
        r = radius(n) * h
        found = mean_curvature(torch.exp(-(r**2) / (2 * s**2))[None, None], t / h**2, eps=1e-6)[0, 0]
        expected = torch.exp(-(r**2 + 2 * t) / (2 * s**2))
        errors.append(float((found - expected).abs()[r < 10].max()))
        fallen = torch.exp(-(r**2) / (2 * s**2)) - expected
        assert errors[-1] < 0.03 * fallen.max()
    assert 3.4 < errors[0] / errors[1] < 4.6


def test_mean_curvature_moves_no_straight_line():
    x = torch.linspace(0, 1, 20, dtype=torch.float64)
    edge = torch.tanh(8 * (x[None, :] - 0.5)).expand(20, 20)[None, None]
    assert relative(mean_curvature(edge, 5.0, eps=1e-9), edge) < 1e-6
    assert relative(heat(edge, 5.0), edge) > 0.01


def test_total_variation_flow_lowers_a_disc_by_its_perimeter_over_its_area():
    size, r = 12, radius(48)
    disc = (size + 0.5 - r).clamp(0, 1)[None, None]
    area = float(disc.sum())
    perimeter = 2 * math.sqrt(math.pi * area)
    early = tv_flow(disc, 0.5)
    late = tv_flow(early, 0.5)
    fall, rise = (early - late)[0, 0][r < size - 3] / 0.5, (late - early)[0, 0][r > size + 3] / 0.5
    assert abs(float(fall.mean()) / (perimeter / area) - 1) < 0.05
    assert abs(float(rise.mean()) / (perimeter / (48**2 - area)) - 1) < 0.05
    assert fall.std() < 0.05 * fall.mean()  # it falls as a whole: its edge stays
    assert float((late[0, 0][r < size - 2]).min() - late[0, 0][r > size + 2].max()) > 0.7


@pytest.mark.parametrize("padding", ["replicate", "circular"])
@pytest.mark.parametrize("name", BALANCED)
def test_the_mean_stays(name, padding):
    u = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    change = (FLOWS[name](u, padding=padding) - u).mean((2, 3)).abs().max()
    assert change < 1e-14


def expanded(u, conductivity, slope, steps, dt, padding):
    """The flow from its expanded form, c tr H + 2 c' gHg, with central differences."""
    derive = Derivatives(padding=padding)
    for _ in range(steps):
        _, _, gg, laplacian, ghg, _ = polynomials(derive(u))
        u = u + dt * (conductivity(gg) * laplacian + 2 * slope(gg) * ghg)[:, None]
    return u


CONDUCTIVITIES = {  # c and its derivative by |g|^2, and the flow that has it
    "rational": (
        lambda gg, k: 1 / (1 + gg / k**2),
        lambda gg, k: -1 / k**2 / (1 + gg / k**2) ** 2,
        lambda u, k, **o: perona_malik(u, 1e-3, k, **o),
    ),
    "exponential": (
        lambda gg, k: torch.exp(-gg / k**2),
        lambda gg, k: -torch.exp(-gg / k**2) / k**2,
        lambda u, k, **o: perona_malik(u, 1e-3, k, exponential=True, **o),
    ),
    "total variation": (
        lambda gg, k: (k**2 + gg) ** -0.5,
        lambda gg, k: -((k**2 + gg) ** -1.5) / 2,
        lambda u, k, **o: tv_flow(u, 1e-3, eps=k, **o),
    ),
}


def test_the_expanded_form_keeps_neither_mean_nor_range():
    u = torch.rand(1, 1, 9, 12, dtype=torch.float64).round()
    c, slope, _ = CONDUCTIVITIES["rational"]
    v = expanded(u, lambda gg: c(gg, 0.3), lambda gg: slope(gg, 0.3), 4, 0.25, "replicate")
    assert abs(v.mean() - u.mean()) > 1e-4
    assert max(v.max() - u.max(), u.min() - v.min()) > 1e-4


@pytest.mark.parametrize("kind", CONDUCTIVITIES)
def test_the_balance_is_the_expanded_form_on_smooth_pictures(kind):
    c, slope, flow = CONDUCTIVITIES[kind]

    def difference(n):
        u, k = wave(n, 1, 0) + 0.5 * wave(n, 1, -2), 4 * 2 * math.pi / n  # the picture's gradients, per pixel
        found = flow(u, k, steps=1, padding="circular")
        return relative(found - u, expanded(u, lambda gg: c(gg, k), lambda gg: slope(gg, k), 1, 1e-3, "circular") - u)

    errors = [difference(n) for n in (24, 48)]
    assert errors[0] < 0.1
    assert 3.5 < errors[0] / errors[1] < 4.5


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", BALANCED)
def test_no_value_leaves_the_range(name, padding):
    u = torch.rand(2, 1, 9, 12, dtype=torch.float64).round()
    v = FLOWS[name](u, padding=padding)
    assert v.min() > -1e-14
    assert v.max() < 1 + 1e-14
    assert v.std() < u.std()


def test_steps_beyond_the_limit_would_leave_it():
    u = torch.rand(1, 1, 9, 12, dtype=torch.float64).round()
    derive = Derivatives(padding="replicate")
    v = u + 0.6 * polynomials(derive(u))[3][:, None]
    assert max(v.max() - 1, -v.min()) > 0.1


def test_no_chequerboard_survives():
    u = (torch.arange(8)[:, None] + torch.arange(8)).remainder(2).double()[None, None]
    assert heat(u, 1.0, padding="circular").std() < 1e-12
    assert relative(heat(u, 1.0, steps=4, padding="circular"), u) < 1e-12  # steps as long as is stable


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("name", FLOWS)
def test_exact_under_quarter_turns_and_flips(name, padding):
    u = torch.rand(1, 2, 8, 11, dtype=torch.float64)
    here = FLOWS[name](u, padding=padding)
    for g in pdo.dihedral(4).matrices:
        g = np.rint(g)
        assert relative(FLOWS[name](move(u, g), padding=padding), move(here, g)) < 1e-12


@pytest.mark.parametrize("name", FLOWS)
def test_channels_and_samples_are_alone(name):
    u = torch.rand(2, 3, 8, 8)
    alone = torch.stack([FLOWS[name](u[i, j][None, None])[0, 0] for i in range(2) for j in range(3)]).reshape(u.shape)
    assert relative(FLOWS[name](u), alone) < 1e-6
    assert FLOWS[name](u).dtype == torch.float32


def test_edges_stay():
    """What Perona-Malik and total variation are for: less of an edge is lost than of the noise."""
    generator = torch.Generator().manual_seed(0)
    clean = (torch.arange(32) >= 16).double().expand(32, 32)[None, None]
    noisy = clean + 0.1 * torch.randn(1, 1, 32, 32, dtype=torch.float64, generator=generator)
    best = {
        "heat": min(float((heat(noisy, t) - clean).square().mean()) for t in (0.25, 0.5, 1.0, 2.0)),
        "Perona-Malik": float((perona_malik(noisy, 4.0, 0.2) - clean).square().mean()),
        "total variation": float((tv_flow(noisy, 0.2) - clean).square().mean()),
    }
    assert best["Perona-Malik"] < best["heat"] / 2
    assert best["total variation"] < best["heat"] / 2


def test_errors():
    u = torch.rand(1, 1, 8, 8)
    with pytest.raises(ValueError, match="heat: expected floating-point images"):
        heat(u[0], 1.0)
    with pytest.raises(ValueError, match="heat: expected floating-point images"):
        heat(u.int(), 1.0)
    with pytest.raises(ValueError, match="time must be positive"):
        heat(u, -1.0)
    with pytest.raises(ValueError, match="padding must be one of"):
        heat(u, 1.0, padding="same")
    with pytest.raises(ValueError, match="at least 4 steps for a time of 1"):
        heat(u, 1.0, steps=3)
    with pytest.raises(ValueError, match="at least 1 steps"):
        heat(u, 1.0, steps=0, implicit=True)
    with pytest.raises(ValueError, match="perona_malik: kappa must be positive"):
        perona_malik(u, 1.0, 0.0)
    with pytest.raises(ValueError, match="tv_flow: eps must be positive"):
        tv_flow(u, 1.0, eps=-1.0)
    with pytest.raises(ValueError, match="at least 400 steps"):
        tv_flow(u, 1.0, steps=399)
    with pytest.raises(ValueError, match="mean_curvature: eps must be positive"):
        mean_curvature(u, 1.0, eps=math.nan)
