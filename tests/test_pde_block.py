"""PDEBlock: orders of the solvers, residual networks, symmetry, batch independence, gradients, errors, networks."""

import itertools
import math
import sys

import pytest
import torch
from conftest import copies, relative
from torch import nn

import pdoconv as pdo
from pdoconv.models import create
from pdoconv.pde import PDEBlock, integrate
from pdoconv.pde.block import ADAPTIVE, with_time
from pdoconv.pde.solvers import STEPS, euler

ORDERS = {"euler": 1, "midpoint": 2, "rk4": 4}
SOLVERS = (*STEPS, *ADAPTIVE)


def convolutions(group=None, fields=2, side=5):
    """Two PDO-eConv layers around a normalisation of whole fields and a smooth function."""
    u = (group or pdo.cyclic(4)).regular(fields)
    norm = nn.GroupNorm(fields, u.channels, affine=False)
    return pdo.Sequential(
        pdo.PDOConv2d(u, u, side, padding="same"), norm, nn.GELU(), pdo.PDOConv2d(u, u, side, padding="same")
    )


def maps(batch=3, channels=8, side=9):
    return torch.randn(batch, channels, side, side, dtype=torch.float64)


# accuracy


def logistic(t, x):
    """Solved by `logistic_at`; the rate depends on the time too."""
    return 2 * math.cos(t) * x * (1 - x)


def logistic_at(x, time):
    return 1 / (1 + (1 / x - 1) * math.exp(-2 * math.sin(time)))


def orders(step_errors):
    return [math.log2(a / b) for a, b in itertools.pairwise(step_errors)]


@pytest.mark.parametrize("solver", ORDERS)
def test_observed_order(solver):
    x = torch.tensor([0.1, 0.4, 0.7], dtype=torch.float64)
    errors = [
        float((integrate(logistic, x, steps=n, solver=solver) - logistic_at(x, 1.0)).abs().max()) for n in (16, 32, 64)
    ]
    assert orders(errors) == pytest.approx([ORDERS[solver]] * 2, abs=0.15)


@pytest.mark.parametrize("solver", ORDERS)
def test_linear_field_against_the_matrix_exponential(solver):
    a = torch.randn(5, 5, dtype=torch.float64)
    x = torch.randn(5, dtype=torch.float64)
    exact = torch.matrix_exp(-1.5 * a) @ x  # back in time
    errors = [
        float((integrate(lambda t, y: a @ y, x, steps=n, solver=solver, time=-1.5) - exact).norm())
        for n in (64, 128, 256)
    ]
    assert orders(errors) == pytest.approx([ORDERS[solver]] * 2, abs=0.25)


def test_a_wrong_stage_loses_the_order():
    """Negative control: RK4 with the second stage at the start of the step, as far as the time goes."""

    def late(field, t, x, dt):
        return STEPS["rk4"](lambda s, y: field(t if s < t + dt else s, y), t, x, dt)

    x, errors = torch.tensor([0.1, 0.4, 0.7], dtype=torch.float64), []
    for n in (16, 32, 64):
        y = x
        for k in range(n):
            y = late(logistic, k / n, y, 1 / n)
        errors.append(float((y - logistic_at(x, 1.0)).abs().max()))
    assert max(orders(errors)) < 1.5


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_adaptive_solvers_keep_their_tolerance(solver):
    class Rate(nn.Module):
        def forward(self, t, x):
            return 2 * t.cos() * x * (1 - x)

    x = torch.tensor([[0.1, 0.4, 0.7]], dtype=torch.float64)
    tight, loose = (PDEBlock(Rate(), solver=solver, timed=True, rtol=r, atol=r / 10) for r in (1e-6, 1e-2))
    assert relative(tight(x), logistic_at(x, 1.0)) < 1e-4
    assert relative(loose(x), logistic_at(x, 1.0)) > 1e-6


def test_there_and_back():
    field, x = convolutions().double(), maps()
    there = PDEBlock(field, steps=16, time=0.5)
    back = PDEBlock(field, steps=16, time=-0.5)
    assert relative(back(there(x)), x) < 1e-4
    assert relative(there(x), x) > 1e-2


# residual networks


def test_a_residual_block_is_an_euler_step():
    field, x = convolutions(), torch.randn(2, 8, 9, 9)
    assert torch.equal(PDEBlock(field, steps=1, solver="euler")(x), x + field(x))
    assert not torch.equal(PDEBlock(field, steps=1, solver="midpoint")(x), x + field(x))


def test_residual_networks_are_euler():
    """With the same weights in every block, and with own ones."""
    fields, x = [convolutions() for _ in range(3)], torch.randn(2, 8, 9, 9)
    shared = own = x
    for field in fields:
        shared = shared + fields[0](shared)
        own = own + field(own)
    assert torch.equal(PDEBlock(fields[0], steps=3, time=3, solver="euler")(x), shared)
    assert torch.equal(PDEBlock(nn.ModuleList(fields), steps=3, time=3.0, solver="euler")(x), own)
    assert not torch.equal(PDEBlock(fields[::-1], steps=3, time=3, solver="euler")(x), own)


def test_one_step_by_name():
    x = torch.randn(4, dtype=torch.float64)
    assert STEPS["euler"] is euler
    y = STEPS["rk4"](logistic, 0.5, STEPS["rk4"](logistic, 0.0, x, 0.5), 0.5)
    assert torch.equal(integrate(logistic, x, steps=2), y)
    assert torch.equal(integrate([logistic, lambda t, x: 0 * x], x, steps=2), STEPS["rk4"](logistic, 0.0, x, 0.5))


# symmetry


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("group", ["C4", "D4"])
def test_the_flow_inherits_the_symmetry(solver, group):
    group = pdo.group(group)
    block = PDEBlock(convolutions(group, 1), solver=solver, steps=2, rtol=1e-3, atol=1e-4).double()
    bound = 1e-10 if solver == "dopri8" else 1e-12  # its polynomial of order 8 makes much of rounding
    assert block.in_type == block.out_type == group.regular(1)
    for angle in (90, 180):
        assert pdo.equivariance_error(block, angle, size=7, samples=2) < bound
    if group.name == "D4":
        assert pdo.equivariance_error(block, 90, reflection=True, size=7, samples=2) < bound


def test_negative_controls_of_the_symmetry():
    """A field of a plain convolution; factors of single channels, once they are trained."""
    u = pdo.cyclic(4).regular(2)
    plain = PDEBlock(nn.Conv2d(8, 8, 3, padding=1), steps=2).double()
    assert pdo.equivariance_error(plain, 90, size=7, in_type=u, out_type=u) > 1e-2
    field = convolutions()
    field[1] = nn.GroupNorm(2, 8)
    assert pdo.equivariance_error(PDEBlock(field).double(), 90, size=7) < 1e-12
    nn.init.uniform_(field[1].weight, 0.5, 1.5)
    assert pdo.equivariance_error(PDEBlock(field).double(), 90, size=7) > 1e-3


class Timed(nn.Module):
    """A field that depends on the time: a channel that no motion changes."""

    def __init__(self, u):
        super().__init__()
        self.conv = pdo.PDOConv2d(u.group.trivial(1) + u, u, 3, padding=1)
        self.in_type = self.out_type = u

    def forward(self, t, x):
        return torch.tanh(self.conv(with_time(t, x)))


@pytest.mark.parametrize("solver", ["euler", "rk4", "dopri5"])
def test_time_is_an_invariant_field(solver):
    block = PDEBlock(Timed(pdo.cyclic(4).regular(2)), solver=solver, timed=True).double()
    assert pdo.equivariance_error(block, 90, size=7) < 1e-12
    x = maps()
    with torch.no_grad():
        still = integrate(lambda t, y: block.fields[0](0.0, y), x, steps=4)
        assert relative(still, block(x)) > 1e-3
    for t in (0.25, torch.tensor(0.25)):
        assert torch.equal(with_time(t, x), torch.cat([torch.full((3, 1, 9, 9), 0.25, dtype=x.dtype), x], 1))


def test_in_a_sequential():
    c4 = pdo.cyclic(4)
    net = pdo.Sequential(
        pdo.PDOConv2d(c4.trivial(1), c4.regular(2), padding=2), PDEBlock(convolutions()), pdo.GroupPool(c4.regular(2))
    )
    assert net.in_type == c4.trivial(1)
    assert pdo.equivariance_error(net.double(), 90, size=7) < 1e-12
    with pytest.raises(ValueError, match=r"expects C4: 2 regular, the layer before it gives C4: 3 regular"):
        pdo.Sequential(pdo.PDOConv2d(c4.trivial(1), c4.regular(3), padding=2), PDEBlock(convolutions()))


# batches


@pytest.mark.parametrize("solver", STEPS)
def test_samples_are_alone_with_fixed_steps(solver):
    block, x = PDEBlock(convolutions(), solver=solver).double(), maps()
    x[1] *= 20
    with torch.no_grad():
        assert relative(torch.cat([block(sample[None]) for sample in x]), block(x)) < 1e-14


def test_samples_share_the_steps_of_adaptive_solvers():
    """A sample moves with its batch-mates, the more the looser the tolerance: documented, not wanted."""
    field, x = convolutions().double(), maps()
    moved = []
    for tolerance in (1e-2, 1e-5, 1e-8):
        block = PDEBlock(field, solver="dopri5", rtol=tolerance, atol=tolerance / 10)
        with torch.no_grad():
            moved.append(relative(torch.cat([block(sample[None]) for sample in x]), block(x)))
    assert 1e-5 < moved[0] < 0.1
    assert moved[0] > 10 * moved[1] > 100 * moved[2] > 0


# gradients


def gradients(block, x):
    x = x.clone().requires_grad_()
    weights = torch.linspace(-1, 1, x.numel(), dtype=x.dtype).view_as(x)
    return torch.autograd.grad((block(x) * weights).sum(), [x, *block.parameters()])


@pytest.mark.parametrize("solver", STEPS)
def test_checkpoints_change_no_gradient(solver):
    field, x = convolutions(), torch.randn(2, 8, 9, 9)
    kept = gradients(PDEBlock(field, solver=solver), x)
    again = gradients(PDEBlock(field, solver=solver, checkpoint=True), x)
    assert all(map(torch.equal, kept, again))


def test_checkpoints_keep_less():
    field, x = convolutions(), torch.randn(2, 8, 9, 9)

    def saved(**options):
        count = 0

        def pack(t):
            nonlocal count
            count += t.numel()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            PDEBlock(field, steps=8, **options)(x.requires_grad_())
        return count

    assert saved(checkpoint=True) < saved() / 10


def test_gradients_are_those_of_the_scheme():
    block = PDEBlock(convolutions(fields=1, side=3), steps=2, solver="midpoint", checkpoint=True).double()
    assert torch.autograd.gradcheck(block, (maps(1, 4, 3).requires_grad_(),))


def test_the_adjoint_is_as_wrong_as_the_tolerance_is_loose():
    """Against the gradients of the same steps: by percents at 1e-3, right at 1e-7."""
    field, x, wrong = convolutions().double(), maps(), []
    for tolerance in (1e-3, 1e-7):
        options = {"solver": "dopri5", "rtol": tolerance, "atol": tolerance}
        pairs = zip(
            gradients(PDEBlock(field, adjoint=True, **options), x),
            gradients(PDEBlock(field, **options), x),
            strict=True,
        )
        wrong.append(max(float((a - b).norm() / b.norm()) for a, b in pairs if b.norm() > 1e-6))
    assert wrong[1] < 1e-5 < 1e-2 < wrong[0] < 0.5  # measured 6e-7 and 7%


# tools


def test_compiles_to_one_graph():
    u, x = pdo.cyclic(4).regular(1), torch.randn(2, 4, 5, 5)
    plain = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Tanh())
    net = nn.Sequential(
        PDEBlock(pdo.PDOConv2d(u, u, 3, padding=1), steps=1, solver="midpoint"),
        PDEBlock(plain, steps=3),
        PDEBlock(plain, steps=2, solver="midpoint", checkpoint=True),
        PDEBlock([plain, nn.Tanh()], steps=2, time=2, solver="euler"),
        PDEBlock(Timed(u), steps=1, timed=True, solver="euler"),
    )
    found = torch._dynamo.explain(net)(x)
    assert (found.graph_count, found.graph_break_count) == (1, 0)
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for a, b in zip(gradients(compiled, x), gradients(net, x), strict=True):
        assert relative(a, b) < 1e-4


@pytest.mark.parametrize("solver", ["rk4", "dopri5"])
def test_copies(solver):
    block, x = PDEBlock(convolutions(), solver=solver), torch.randn(2, 8, 9, 9)
    for copy in copies(block):
        assert torch.equal(copy(x), block(x))
        assert copy.in_type == block.in_type
    assert set(block.state_dict()) == {f"fields.0.{name}" for name in block.fields[0].state_dict()}


def test_exports():
    block, x = PDEBlock(convolutions(), steps=2), torch.randn(2, 8, 9, 9)
    program = torch.export.export(block, (x,))
    assert relative(program.module()(x), block(x)) < 1e-5
    plain = pdo.export(block)
    assert relative(plain(x), block(x)) < 1e-5
    assert any(isinstance(part, nn.Conv2d) for part in plain.modules())
    assert not any(isinstance(part, pdo.GroupConv2d) for part in plain.modules())


def test_text():
    assert repr(PDEBlock(nn.Tanh(), steps=2)).startswith("PDEBlock(\n  rk4, steps=2, time=1.0\n")
    assert "dopri5, rtol=0.1, atol=1e-06, time=2, timed=True" in repr(
        PDEBlock(nn.Tanh(), solver="dopri5", rtol=0.1, time=2, timed=True)
    )


# errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1, received 0"),
        ({"steps": 2.0}, "steps must be a whole number of at least 1, received 2.0"),
        ({"time": 0}, "time must be finite and not 0, received 0"),
        ({"time": math.inf}, "time must be finite and not 0, received inf"),
        ({"solver": "rk45"}, "solver must be one of euler, midpoint, rk4, dopri5, .*received 'rk45'"),
        ({"adjoint": True}, "adjoint needs an adaptive solver, received 'rk4': use checkpoint=True"),
        ({"checkpoint": True, "solver": "dopri5"}, "checkpoint needs a fixed-step solver, .*use adjoint=True"),
        ({"rtol": 0.0}, "rtol and atol must be positive, received 0.0, 1e-06"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        PDEBlock(nn.Tanh(), **options)


def test_bad_fields():
    with pytest.raises(ValueError, match=r"one for each step of a fixed-step solver, received 2 for 4 steps of 'rk4'"):
        PDEBlock([nn.Tanh(), nn.Tanh()])
    with pytest.raises(ValueError, match=r"received 2 for 2 steps of 'dopri5'"):
        PDEBlock([nn.Tanh(), nn.Tanh()], steps=2, solver="dopri5")
    c4 = pdo.cyclic(4)
    with pytest.raises(ValueError, match=r"must keep its type, received C4: 1 regular and C4: 2 regular"):
        PDEBlock(pdo.PDOConv2d(c4.regular(1), c4.regular(2), padding=2))
    for field, shape in ((nn.Conv2d(2, 1, 1), r"\(1, 1, 5, 5\)"), (nn.Conv2d(2, 2, 3), r"\(1, 2, 3, 3\)")):
        for solver in ("euler", "dopri5"):
            with pytest.raises(ValueError, match=rf"must keep the shape, received {shape} for \(1, 2, 5, 5\)"):
                PDEBlock(field, solver=solver)(torch.randn(1, 2, 5, 5))


def test_bad_integrations():
    x = torch.ones(1)
    with pytest.raises(ValueError, match="solver must be one of euler, midpoint, rk4, received 'dopri5'"):
        integrate(logistic, x, steps=1, solver="dopri5")
    with pytest.raises(ValueError, match="one field, or one for each of 3 steps, received 2"):
        integrate([logistic, logistic], x, steps=3)
    with pytest.raises(ValueError, match="integrate: steps must be"):
        integrate(logistic, x, steps=-1)


def test_without_torchdiffeq(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(ValueError, match=r"pip install 'pdoconv\[ode\]', or use solver='rk4'"):
        PDEBlock(nn.Tanh(), solver="dopri5")
    PDEBlock(nn.Tanh())


# networks


def test_neural_ode_and_its_twin():
    counts = {"neural-ode": 208_266, "neural-ode-resnet": 576_778}
    assert {name: sum(p.numel() for p in create(name).parameters()) for name in counts} == counts
    assert create("neural-ode", width=8)(torch.randn(2, 1, 28, 28)).shape == (2, 10)
    for name in counts:
        with pytest.raises(ValueError, match=r"an even width of at least 2, .*received 3"):
            create(name, width=3)


def test_the_twin_is_a_residual_network():
    """The block, written out."""
    net = create("neural-ode-resnet", width=8, classes=3).double()
    block = next(part for part in net if isinstance(part, PDEBlock))
    x = y = maps(2, 8, 6)
    for field in block.fields:
        norm1, _, conv1, norm2, _, conv2 = field
        y = y + conv2(norm2(conv1(norm1(y).relu())).relu())
    assert len(block.fields) == 6
    assert torch.equal(block(x), y)


def test_fine_steps_of_the_neural_ode_agree_with_dopri5():
    """Where the rate has a kink, too, if the steps are fine enough."""
    net = create("neural-ode", width=8, classes=3, solver="dopri5", tolerance=1e-8).double()
    other = create("neural-ode", width=8, classes=3, steps=100).double()
    other.load_state_dict(net.state_dict())
    x = maps(2, 1, 28)
    with torch.no_grad():
        assert relative(other(x), net(x)) < 1e-4


@pytest.fixture
def small():
    return create("neural-pde", widths=(1, 2, 2), hidden=8, classes=3)


def test_neural_pde_is_invariant_to_quarter_turns(small):
    """Exactly, also with biases as training leaves them; for other angles up to the grid."""
    for part in small.modules():
        if isinstance(getattr(part, "bias", None), torch.Tensor):
            nn.init.normal_(part.bias, std=0.3)
    net, x = small.double().eval(), maps(2, 1, 28)
    with torch.no_grad():
        assert net(x).shape == (2, 3)
        assert relative(net(x.rot90(1, (2, 3))), net(x)) < 1e-12
        assert relative(net(x.flip(2)), net(x)) > 1e-3
        d4 = create("neural-pde", group=pdo.dihedral(4), widths=(1, 2, 2), hidden=8).double().eval()
        assert relative(d4(x.flip(2)), d4(x)) < 1e-12
        c6 = create("neural-pde", group=pdo.cyclic(6), widths=(1, 2, 2), hidden=8).double().eval()
        assert relative(c6(x.rot90(1, (2, 3))), c6(x)) > 1e-6  # no quarter turns in the group


def test_neural_pde_learns():
    """Two kinds of images, told apart after a few steps; every parameter moves; the ordinary network does the same."""
    net = create("neural-pde", widths=(1, 2, 2), hidden=8, classes=3, dropout=0.0)
    x = torch.randn(16, 1, 28, 28)
    x[8:] = nn.functional.avg_pool2d(x[8:], 5, 1, 2) * 3
    y = torch.arange(16) // 8
    optimiser = torch.optim.Adam(net.parameters(), 0.03)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    assert not [name for name, p in net.named_parameters() if torch.equal(p, before[name])]
    plain = pdo.export(net.eval())
    with torch.no_grad():
        assert relative(plain(x), net(x)) < 1e-4


def test_neural_pde_arguments():
    with pytest.raises(ValueError, match="Expected three widths, of two flows and the last convolution, received 2"):
        create("neural-pde", widths=(4, 4))
    with pytest.raises(ValueError, match="solver must be one of euler"):
        create("neural-pde", solver="rk5")
