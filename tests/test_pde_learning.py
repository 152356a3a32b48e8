"""Learning of PDEs: gradients against the adjoints by hand, greedy and joint optimisation, recovery."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import relative
from pde_adjoint import continuous, gradients, transposed
from pde_models import GENERAL, SOLVERS, rand, random, value

from pdoconv.pde import BlowUpError, LearnedPDE, fit, greedy, heat, objective
from pdoconv.pde.jets import PADDINGS


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("checkpoint", [False, True])
def test_the_discrete_adjoint_is_autograd(padding, checkpoint):
    model, (x, target, rho) = random(padding=padding, checkpoint=checkpoint), rand(3, 2, 1, 7, 9)
    objective(model, x, target, indicator=rho, penalty=0.1).backward()
    by_hand = gradients(model, x, target, rho, penalty=0.1, adjoint=transposed)
    assert relative(by_hand, model.coefficients.grad) < 1e-12


def test_the_adjoint_equation_is_the_oracle():
    """Its discretisation is the discrete adjoint where central differences are (anti)symmetric, else it is not."""
    for padding in PADDINGS:
        model, (x, target, rho) = random(padding=padding), rand(3, 2, 1, 7, 9)
        objective(model, x, target, indicator=rho).backward()
        error = relative(gradients(model, x, target, rho, penalty=1e-7, adjoint=continuous), model.coefficients.grad)
        assert error < 1e-12 if padding in ("zeros", "circular") else error > 1e-3


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", GENERAL)
def test_gradients_against_finite_differences(kind, solver):
    model = random(solver=solver, **GENERAL[kind])
    if solver == "semi-implicit":
        with torch.no_grad():
            model.coefficients.add_(0.3)  # away from the kink at own diffusion 0
    (x, target), rho = rand(2, 1, model.channels, 6, 7), rand(1, model.indicators, 6, 7)
    parameters = list(model.parameters())
    directions = [torch.randn_like(p) for p in parameters]

    def moved(size):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(size * d)
            found = value(objective(model, x, target, indicator=rho, penalty=0.1))
            for p, d in zip(parameters, directions, strict=True):
                p.sub_(size * d)
        return found

    slopes = torch.autograd.grad(objective(model, x, target, indicator=rho, penalty=0.1), parameters)
    expected = sum(float((g * d).sum()) for g, d in zip(slopes, directions, strict=True))
    h = 1e-6
    observed = (moved(h) - moved(-h)) / (2 * h)
    assert observed == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", GENERAL)
def test_checkpoints_change_no_gradient(kind):
    model = random(**GENERAL[kind])
    x, target = rand(2, 2, model.channels, 6, 7)
    found = []
    for model.checkpoint in (False, True):
        model.zero_grad()
        objective(model, x, target).backward()
        found.append([p.grad for p in model.parameters()])
    assert all(map(torch.equal, *found))


def test_checkpoints_keep_less():
    x = rand(1, 1, 16, 16)
    sizes = {}
    for checkpoint in (False, True):
        model, kept = random(steps=8, checkpoint=checkpoint), []

        def pack(t, kept=kept):
            kept.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            model(x)
        sizes[checkpoint] = sum(kept)
    assert sizes[True] < sizes[False] / 5


def blurred(images):
    return heat(images, 0.5, padding="zeros")


def test_greedy_learns_a_blur():
    x = heat(rand(4, 1, 16, 16), 0.5)
    model = LearnedPDE(steps=5).double()
    errors = greedy(model, x, blurred(x))
    assert len(errors) == 6
    assert errors[-1] < 1e-3 * errors[0]
    assert all(b <= a for a, b in pairwise(errors))
    assert errors[-1] == pytest.approx(value((model(x) - blurred(x)).square().mean()), rel=1e-9)
    assert not model.coefficients[:, 0].any()  # the indicator stays


@pytest.mark.parametrize("kind", GENERAL)
def test_greedy_for_any_fields(kind):
    model = LearnedPDE(steps=4, **GENERAL[kind]).double()
    x = rand(3, model.channels, 12, 12)
    target = blurred(x)
    errors = greedy(model, x, target)
    assert errors[-1] < 0.1 * errors[0]
    assert errors[-1] == pytest.approx(value((model(x) - target).square().mean()), rel=1e-9)


def test_greedy_is_least_squares():
    """One step: the solution of the ridge regression, against numpy."""
    x, target, rho = rand(3, 2, 1, 10, 10)
    model = LearnedPDE(steps=1).double()
    greedy(model, x, target, indicator=rho, ridge=0.1, crop=2)
    with torch.no_grad():
        rows = model.invariants(0, torch.cat([rho, x], 1))[..., 2:-2, 2:-2].movedim(1, -1).reshape(-1, 17).numpy()
    wanted = (target - x)[..., 2:-2, 2:-2].reshape(-1).numpy()
    tall = np.vstack([rows, np.sqrt(0.1 * len(rows)) * np.eye(17)])
    expected = np.linalg.lstsq(tall, np.append(wanted, np.zeros(17)))[0]
    assert expected[7] < model.stable_diffusion
    assert relative(model.coefficients[0, 1], expected) < 1e-9


def test_greedy_heeds_the_guard_and_known_pixels():
    x = rand(3, 1, 12, 12)
    model = LearnedPDE(steps=2).double()
    errors = greedy(model, x, heat(x, 3.0, padding="zeros"))
    own = [value(model.own_diffusion(k)[1]) for k in range(2)]
    assert max(own) == pytest.approx(0.99 * model.stable_diffusion)
    assert errors[-1] < errors[0]
    known = (rand(3, 1, 12, 12) < 0.3).double()
    errors = greedy(model, x * known, x, known=known)
    assert errors[-1] < 0.5 * errors[0]
    assert torch.equal(model(x * known, known=known)[known > 0], x[known > 0])


@pytest.mark.parametrize(("steps", "indicators"), [(1, 1), (3, 0), (3, 1)])
def test_a_known_pde_is_found_from_its_data(steps, indicators):
    """Three coefficients that are not zero, from the fields at the end alone."""
    truth = LearnedPDE(steps=steps, indicators=indicators, padding="circular").double()
    with torch.no_grad():
        for j, value in ((1, 1.0), (7, 0.2), (10, -0.4)) if indicators else ((1, 0.5), (3, 0.2), (4, -0.4)):
            truth.coefficients[:, -1, j] = value
    x, rho = rand(2, 1, 16, 16), rand(2, indicators, 16, 16)
    model = LearnedPDE(steps=steps, indicators=indicators, padding="circular").double()
    target = truth(x, rho).detach()
    history = fit(model, x, target, indicator=rho, iterations=200, penalty=0.0, constant=True)
    assert history[-1] < 1e-18 * history[0]
    error = (model.coefficients - truth.coefficients).detach().abs()
    if (steps, indicators) == (3, 1):  # sources of both fields add one number to the image at the end: not two unknowns
        error = error[..., 1:]
    assert error.max() < 1e-6


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_fit_goes_on_where_greedy_ends(method):
    x = rand(4, 1, 12, 12)
    target = torch.sigmoid(8 * (blurred(x) - 0.5))
    model = LearnedPDE(steps=3).double()
    greedy(model, x, target)
    begun = value(objective(model, x, target))
    history = fit(model, x, target, method=method, iterations=15, initialise=False)
    assert history[0] == pytest.approx(begun)
    assert len(history) == 16
    assert min(history) == pytest.approx(value(objective(model, x, target)), rel=1e-12)
    assert min(history) < 0.9 * begun
    if method == "lbfgs":
        assert all(b <= a for a, b in pairwise(history))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("kind", ["hidden", "colour"])
def test_fit_for_any_model(kind):
    model = LearnedPDE(steps=2, **GENERAL[kind]).double()
    x = rand(2, model.channels, 10, 10)
    history = fit(model, x, x.square(), iterations=10)
    assert history[-1] < history[1] < 0.5 * history[0]
    if model.hidden:
        assert model.outward.abs().max() > 0


def test_fit_survives_blow_ups():
    x = rand(2, 1, 10, 10)
    target, model = x.square(), LearnedPDE(steps=4).double()
    greedy(model, x, target)
    begun = value(objective(model, x, target))
    history = fit(model, x, target, method="adam", iterations=12, learning_rate=1e4, initialise=False)
    assert math.inf in history
    assert value(objective(model, x, target)) <= begun * (1 + 1e-12)
    wild = random(size=0.1, steps=4, limit=2.0)
    begun = value(objective(wild, x, target))
    history = fit(wild, x, target, iterations=10, initialise=False)
    assert value(objective(wild, x, target)) < begun
    wild.coefficients.data.mul_(1e4)
    with pytest.raises(BlowUpError, match="blew up in step"):
        fit(wild, x, target)


def test_chunks_change_nothing():
    x, known = rand(3, 1, 10, 10), (rand(3, 1, 10, 10) < 0.2).double()
    found = []
    for chunk in (None, 2):
        model = LearnedPDE(steps=2).double()
        found.append(fit(model, x * known, x, known=known, iterations=4, chunk=chunk, crop=1, penalty=1e-3))
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_objective():
    model, (x, target) = random(), rand(2, 2, 1, 8, 8)
    data = value((model(x) - target)[..., 1:-1, 1:-1].square().sum() / 2)
    size = 0.3 / 2 * value(model.coefficients.square().sum() / 3)
    assert value(objective(model, x, target, penalty=0.3, crop=1)) == pytest.approx(data + size, rel=1e-12)


def test_bad_fits():
    model, x = LearnedPDE(steps=2), torch.rand(2, 1, 8, 8)
    with pytest.raises(ValueError, match="expected targets like the images"):
        fit(model, x, x[:1])
    with pytest.raises(ValueError, match="method must be one of lbfgs, adam"):
        fit(model, x, x, method="sgd")
    with pytest.raises(ValueError, match="iterations >= 0"):
        fit(model, x, x, iterations=-1)
    with pytest.raises(ValueError, match="crop must leave some"):
        objective(model, x, x, crop=4)
    with pytest.raises(ValueError, match="ridge must be finite"):
        greedy(model, x, x, ridge=-1.0)
