"""Learned PDEs: that they are the papers' equations, their symmetry and stability."""

import math

import numpy as np
import pytest
import torch
from conftest import copies, relative
from pde_models import GENERAL, SOLVERS, rand, random

import pdoconv as pdo
from pdoconv.grid import move
from pdoconv.pde import BlowUpError, LearnedPDE, heat
from pdoconv.pde.implicit import implicit_diffusion
from pdoconv.pde.jets import PADDINGS, Derivatives
from pdoconv.pde.learned import SWAPPED
from pdoconv.stencils import isotropic

TURN, MIRROR = (np.rint(pdo.dihedral(4).matrices[g]) for g in (1, 4))
OWN = (0, 6), (1, 7)  # own diffusion of the indicator and of the image


def test_zero_coefficients_change_nothing():
    for options in GENERAL.values():
        model = LearnedPDE(steps=3, **options)
        x = torch.rand(2, model.channels, 8, 9)
        assert torch.equal(model(x), x)


def test_own_laplacian_alone_is_the_heat_equation():
    x = rand(2, 1, 8, 9)
    for padding in PADDINGS:
        model = LearnedPDE(steps=20, time=4.0, padding=padding).double()
        with torch.no_grad():
            model.coefficients[:, 1, 7] = 1.0
        assert relative(model(x), heat(x, 4.0, steps=20, padding=padding)) < 1e-13


def slow(rho, o, a, b, dt):
    """The papers' equations pixel by pixel, zeros outside."""
    height, width = o.shape

    def jet(u, r, c):
        def at(y, x):  # y up
            row, column = r - y, c + x
            return u[row][column] if 0 <= row < height and 0 <= column < width else 0.0

        x, y = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        xx, yy = at(0, 1) - 2 * at(0, 0) + at(0, -1), at(1, 0) - 2 * at(0, 0) + at(-1, 0)
        xy = (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / 4
        return at(0, 0), np.array([x, y]), np.array([[xx, xy], [xy, yy]])

    def inv(first, second):
        (p, g, G), (q, h, H) = first, second
        return np.array([
            1, p, q, g @ g, g @ h, h @ h, np.trace(G), np.trace(H),
            g @ G @ g, g @ H @ g, g @ G @ h, g @ H @ h, h @ G @ h, h @ H @ h,
            np.trace(G @ G), np.trace(G @ H), np.trace(H @ H),
        ])  # fmt: skip

    for ak, bk in zip(a, b, strict=True):
        next_rho, next_o = rho.copy(), o.copy()
        for r in range(height):
            for c in range(width):
                j_rho, j_o = jet(rho, r, c), jet(o, r, c)
                next_o[r, c] += dt * ak @ inv(j_rho, j_o)
                next_rho[r, c] += dt * bk @ inv(j_o, j_rho)  # the roles change
        rho, o = next_rho, next_o
    return rho, o


def test_the_papers_equations():
    rng = np.random.default_rng(0)
    rho, o = rng.uniform(size=(2, 5, 6))
    a, b = 0.2 * rng.normal(size=(2, 3, 17))
    model = LearnedPDE(steps=3).double()
    with torch.no_grad():
        model.coefficients[:, 1] = torch.from_numpy(a)
        model.coefficients[:, 0, list(SWAPPED)] = torch.from_numpy(b)
    assert torch.equal(model.a, torch.from_numpy(a))
    assert torch.equal(model.b, torch.from_numpy(b))
    *_, last = model.evolve(*(torch.from_numpy(u)[None, None] for u in (o, rho)))
    expected = np.stack(slow(rho, o, a, b, 1 / 3))
    assert relative(last[0], expected) < 1e-13
    with torch.no_grad():
        model.coefficients[:, 0] = torch.from_numpy(b)  # the roles not changed
    *_, last = model.evolve(*(torch.from_numpy(u)[None, None] for u in (o, rho)))
    assert relative(last[0], expected) > 1e-3


def test_the_indicator_is_the_image_by_default():
    model, x = random(channels=3), rand(2, 3, 7, 8)
    assert torch.equal(model(x), model(x, x.mean(1, keepdim=True)))
    assert relative(model(x, rand(2, 1, 7, 8)), model(x)) > 1e-4


@pytest.mark.parametrize("kind", GENERAL)
def test_a_shift_of_the_input_is_a_shift_of_the_output(kind):
    model = random(padding="circular", **GENERAL[kind])
    x = rand(1, model.channels, 7, 8)
    assert relative(model(x.roll((2, 3), (-2, -1))), model(x).roll((2, 3), (-2, -1))) < 1e-13


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", GENERAL)
def test_exact_under_quarter_turns_and_flips(kind, solver):
    for padding in PADDINGS:
        model = random(padding=padding, solver=solver, **GENERAL[kind])
        if solver == "semi-implicit":
            model.diffuse(2.0)
        x, rho = rand(1, model.channels, 6, 7), rand(1, model.indicators, 6, 7)
        y = model(x, rho)
        for g in (TURN, MIRROR):
            assert relative(model(move(x, g), move(rho, g)), move(y, g)) < 1e-12


def test_another_rate_would_not_be():
    class Wrong(LearnedPDE):
        def invariants(self, k, u):
            found = super().invariants(k, u).clone()
            found[:, 3] = self.derivatives(u).gradient[0][0] ** 2
            return found

    model, x = Wrong(steps=2).double(), rand(1, 1, 6, 7)
    with torch.no_grad():
        model.coefficients[:, 1, 3] = 1.0
    assert relative(model(move(x, TURN)), move(model(x), TURN)) > 1e-3


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4), ("semi-implicit", 1)])
def test_order_in_time(solver, order):
    x, rho, c = rand(1, 1, 8, 8), rand(1, 1, 8, 8), 0.2 * torch.randn(2, 17, dtype=torch.float64)
    for field, j in OWN:
        c[field, j] = 0.3

    def run(solver, steps):
        model = LearnedPDE(steps=steps, solver=solver, padding="circular").double()
        with torch.no_grad():
            model.coefficients[:] = c
            return model(x, rho)

    exact = run("rk4", 128)
    coarse, fine = (relative(run(solver, steps), exact) for steps in (16, 32))
    assert abs(math.log2(coarse / fine) - order) < 0.15


def diffusive(number, solver, **options):
    """Own diffusion of so many pixels squared a step."""
    model = LearnedPDE(steps=10, solver=solver, **options).double()
    model.diffuse(10.0 * number)
    return model


def test_stability():
    x = rand(2, 1, 12, 13).round()
    for padding in PADDINGS:
        for solver in ("semi-implicit", "euler"):  # implicit, and with the guard
            y = diffusive(10.0, solver, padding=padding)(x)
            assert y.abs().max() < 1.5
            assert y.std() < x.std()
        for solver in ("midpoint", "rk4"):
            with pytest.raises(BlowUpError, match="blew up"):
                diffusive(10.0, solver, padding=padding)(x)
    smooth = diffusive(10.0, "semi-implicit", padding="replicate")(x)
    assert relative(smooth, heat(x, 100.0, steps=10, implicit=True)) < 1e-12


def test_guard():
    x = rand(1, 1, 12, 13).round()
    model = diffusive(0.5, "euler", padding="circular")
    assert model.stable_diffusion == pytest.approx(10 / 4)
    assert model.own_diffusion(0).tolist() == [5.0, 5.0]
    assert relative(model(x), heat(x, 2.5, steps=10, padding="circular")) < 1e-12
    board = (torch.arange(12)[:, None] + torch.arange(12)).remainder(2).double()[None, None]
    assert (model(board) - 0.5).abs().max() < 0.5 + 1e-12

    class Unguarded(LearnedPDE):
        def taken(self, k):
            return self.coefficients[k]

    unguarded = Unguarded(steps=10, padding="circular").double()
    unguarded.diffuse(10 * 0.5)
    with pytest.raises(BlowUpError):
        unguarded(board)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize(
    ("step", "field", "j", "name"),
    [
        (1, 1, 2, "O in the rate of O"),
        (2, 0, 1, "rho in the rate of rho"),
        (0, 1, 9, r"g(rho) H(O) g(rho) in the rate of O"),
        (2, 1, 3, r"g(rho).g(rho) in the rate of O"),
    ],
)
def test_a_blow_up_says_where_and_why(step, field, j, name, checkpoint):
    model = LearnedPDE(steps=3, checkpoint=checkpoint).double()
    with torch.no_grad():
        model.coefficients[:] = 1e-3 * torch.randn_like(model.coefficients)
        model.coefficients[step, field, j] = 1e5
    x, result, states = rand(1, 1, 9, 9), None, []
    with pytest.raises(BlowUpError, match=f"blew up in step {step} of 3") as caught:
        result = model(x)
    assert result is None
    assert (caught.value.step, caught.value.coefficient) == (step, name)
    assert name in str(caught.value)
    assert isinstance(caught.value, ValueError)
    with pytest.raises(BlowUpError):
        states.extend(model.evolve(x))
    assert len(states) < 4  # the last is not shown


def test_values_that_are_no_numbers_are_blow_ups():
    x = rand(1, 1, 9, 9)
    model = LearnedPDE(steps=3).double()
    with torch.no_grad():
        model.coefficients[1, 1, 5] = float("nan")
    with pytest.raises(BlowUpError, match="step 1 of 3") as caught:
        model(x)
    assert caught.value.coefficient == "g(O).g(O) in the rate of O"
    shown = model.evolve(x)
    assert [next(shown) is not None for _ in range(2)] == [True, True]
    with pytest.raises(BlowUpError, match="step 1 of 3"):  # of a trajectory, too, no state is shown
        next(shown)
    for wrong in (255 * x, x / 0):
        with pytest.raises(ValueError, match="received values beyond 100"):
            LearnedPDE(steps=3).double()(wrong)
    assert LearnedPDE(steps=3, limit=300.0).double()(255 * x).max() > 100


def test_known_pixels_stay():
    x, known = rand(2, 3, 8, 9), (rand(2, 1, 8, 9) < 0.5).double()
    for solver in SOLVERS:
        model = random(channels=3, solver=solver)
        y = model(x, known=known)
        kept = known.expand_as(x) > 0
        assert torch.equal(y[kept], x[kept])
        assert (y - x)[~kept].abs().min() > 0
    each = (rand(2, 3, 8, 9) < 0.5).double()
    y = model(x, known=each)
    assert torch.equal(y == x, each > 0)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("space", [(5, 6), (3, 4, 5)])
def test_implicit_diffusion_against_a_dense_solver(padding, space):
    derive, n = Derivatives(len(space), padding=padding), math.prod(space)
    hessian = derive(torch.eye(n, dtype=torch.float64).reshape(n, 1, *space)).hessian
    laplacian = sum(hessian[i][i] for i in range(len(space))).reshape(n, n).T
    u, amounts = rand(2, 2, *space), torch.tensor([0.3, 20.0], dtype=torch.float64)
    found = implicit_diffusion(u, amounts, padding=padding)
    for i, c in enumerate(amounts):
        system = torch.eye(n, dtype=torch.float64) - c * laplacian
        expected = torch.linalg.solve(system, u[:, i].reshape(2, n).T).T.reshape(2, *space)
        assert relative(found[:, i], expected) < 1e-12
    assert torch.equal(implicit_diffusion(u, 0.3, padding=padding)[:, :1], found[:, :1])
    other = "zeros" if padding == "reflect" else "reflect"
    assert relative(implicit_diffusion(u, amounts, padding=other), found) > 1e-2


# a module


def test_learned_parameters_only():
    assert set(LearnedPDE().state_dict()) == {"coefficients"}
    assert set(LearnedPDE(bounded=True).state_dict()) == {"coefficients", "log_scale"}
    every = {"coefficients", "log_scale", "inward", "shift", "outward"}
    assert set(LearnedPDE(bounded=True, hidden=2).state_dict()) == every
    assert sum(p.numel() for p in LearnedPDE(steps=20).parameters()) == 680


def test_copies():
    model, x = random(hidden=3, bounded=True), rand(1, 1, 8, 8)
    for copy in copies(model):
        assert torch.equal(copy(x), model(x))


def test_stencils_stay_exact():
    model = LearnedPDE(stencils=isotropic(), kernel_size=5)
    exact = Derivatives(stencils=isotropic(), kernel_size=5).weight
    assert torch.equal(model.half().float().double().derivatives.weight, exact)
    a, x = random(), rand(1, 1, 8, 8)
    b = random().float().double()
    b.load_state_dict(a.state_dict())
    assert torch.equal(a(x), b(x))


def test_samples_are_alone():
    model, x = random(solver="rk4"), rand(3, 1, 8, 8)
    assert relative(model(x), torch.cat([model(x[i : i + 1]) for i in range(3)])) < 1e-14


def test_bad_models():
    with pytest.raises(ValueError, match="steps must be a whole number"):
        LearnedPDE(steps=0)
    with pytest.raises(ValueError, match="time must be positive"):
        LearnedPDE(time=-1.0)
    with pytest.raises(ValueError, match="channels must be a whole number of at least 1"):
        LearnedPDE(channels=0)
    with pytest.raises(ValueError, match="indicators must be a whole number of at least 0"):
        LearnedPDE(indicators=-1)
    with pytest.raises(ValueError, match="hidden must be a whole number"):
        LearnedPDE(hidden=1.5)
    with pytest.raises(ValueError, match="solver must be one of euler, midpoint, rk4, semi-implicit"):
        LearnedPDE(solver="dopri5")
    with pytest.raises(ValueError, match="padding must be one of"):
        LearnedPDE(padding="same")
    with pytest.raises(ValueError, match="limit must be positive"):
        LearnedPDE(limit=0.0)
    with pytest.raises(ValueError, match=r"LearnedPDE.a: only a pair"):
        _ = LearnedPDE(channels=3).a
    with pytest.raises(ValueError, match="finite amounts >= 0"):
        implicit_diffusion(rand(1, 1, 4, 4), -1.0)
    with pytest.raises(ValueError, match="padding must be one of"):
        implicit_diffusion(rand(1, 1, 4, 4), 1.0, padding="same")


def test_bad_inputs():
    model, x = LearnedPDE(steps=2), torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="expected images"):
        model(x[0])
    with pytest.raises(ValueError, match="expected images"):
        model(x.double())
    with pytest.raises(ValueError, match="expected indicators"):
        model(x, x[:1])
    with pytest.raises(ValueError, match="expected known pixels"):
        model(x, known=torch.ones(3, 1, 8, 8))
