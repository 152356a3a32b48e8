"""Two processes, each with its share of the batch, against one process with the whole batch."""

import copy

import pytest
import torch
import torch.multiprocessing as mp
from conftest import copies, relative
from distributed_work import FORMATS, LAYERS, P4, P8, layer_of, net_of, three_steps, twice, work
from torch import nn

import pdoconv as pdo
from pdoconv.nn.synchronised import unsynchronise


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(work, (folder,), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def differences(found, expected, parameters):
    """Relative differences of what two processes found from what one process with the whole batch finds."""
    assert found[0].keys() == found[1].keys() == expected.keys()
    worst = {}
    for name, value in expected.items():
        pair = [f[name] for f in found]
        if name in ("y", "x", "second"):
            pair = [torch.cat(pair)]
        elif name in parameters:
            pair = [pair[0] + pair[1]]
        if value.numel():
            worst[name] = max(relative(t, value) for t in pair)
    return worst


@pytest.mark.parametrize("name", LAYERS)
def test_layers(found, name):
    """Outputs, gradients of both orders and running statistics; each wrong layer is told from the right one."""
    layer, x, cotangent = layer_of(name)
    expected, keys = twice(copy.deepcopy(layer), x, cotangent), dict(layer.named_parameters())
    cases = [case for case in found[0]["layers"] if case[0] == name]
    assert len(cases) == (12 if x.dim() == 4 else 9)
    for case in cases:
        pair = [f["layers"][case] for f in found]
        worst = differences(pair, expected, keys)
        if case[2] in (*FORMATS, "composed"):
            assert max(worst.values()) < 1e-10, (case, worst)
            assert all(torch.equal(pair[0][key], pair[1][key]) for key, _ in layer.named_buffers())
        elif case[2] != "without between" or name != "vectors":  # they have no mean
            assert max(worst.values()) > 1e-3, (case, worst)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", ["resnet", "mixed"])
def test_networks(found, name, dtype):
    """Three steps on half the batch each lead to the weights of one process with the whole batch."""
    expected = three_steps(net_of(name, dtype), dtype, slice(None))
    floating = [k for k, v in expected.items() if v.is_floating_point()]
    for how in ("ddp", "fsdp", "apart"):
        states = [f["networks"][name, dtype, how] for f in found]
        assert how == "fsdp" or states[1].keys() == expected.keys()  # of FSDP the first process has the whole state
        flat, whole = (torch.cat([s[k].flatten() for k in floating]) for s in (states[0], expected))
        error = relative(flat, whole)
        print(name, dtype, how, error)
        assert error > 1e-3 if how == "apart" else error < {torch.float64: 1e-10, torch.float32: 1e-6}[dtype]
        if how == "ddp":
            assert all(torch.equal(states[1][k], v) for k, v in states[0].items())


def test_bfloat16(found):
    """Statistics in float32 of inputs in bfloat16; none is copied in either memory format."""
    layer, x, cotangent = layer_of("p8", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = twice(copy.deepcopy(layer), x.bfloat16(), cotangent.bfloat16())
    worst = differences([f["one"]["bfloat16"] for f in found], expected, dict(layer.named_parameters()))
    assert max(worst[k] for k in ("running_mean", "running_var")) < 1e-5
    assert max(worst[k] for k in ("y", "x", "weight", "bias")) < 2e-2
    assert found[0]["one"]["copies"] == [[], []]


def test_processes_alone(found):
    """A group of one process, eval mode and a batch that is empty everywhere leave everything as it is, bit for bit."""
    for one in (f["one"] for f in found):
        for *others, expected in (one["alone"], one["eval"]):
            for other in others:
                assert [k for k, v in expected.items() if not torch.equal(other[k], v)] == []
        assert one["nothing"]


@pytest.mark.parametrize("name", LAYERS)
def test_without_processes(name):
    """Without a distributed run nothing changes, and copies work."""
    layer, x, cotangent = layer_of(name)
    expected, state = twice(copy.deepcopy(layer), x, cotangent), layer.state_dict()
    parameters = list(layer.parameters())
    assert pdo.nn.synchronise(pdo.nn.synchronise(layer)) is layer
    assert all(p is q for p, q in zip(parameters, layer.parameters(), strict=True))
    assert list(layer.state_dict()) == list(state)
    for other in (*copies(layer), layer.to("cpu", torch.float64)):
        assert [m.ranks.group for m in other.modules() if hasattr(m, "ranks")] == [None]
        found = twice(other, x, cotangent)
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_classes():
    """Torch's layers keep their class among others; a class of unknown forward is refused, torch's own left alone."""

    class Own(nn.BatchNorm2d):
        pass

    net = nn.Sequential(nn.BatchNorm2d(3), nn.SyncBatchNorm(3), pdo.BatchNorm2d(P4.regular(1)))
    pdo.nn.synchronise(net)
    assert isinstance(net[0], nn.BatchNorm2d)
    assert [type(m) for m in net[1:]] == [nn.SyncBatchNorm, pdo.BatchNorm2d]
    with pytest.raises(ValueError, match="received a Own: replace it"):
        pdo.nn.synchronise(nn.Sequential(nn.BatchNorm2d(3), Own(3)))


def test_undone():
    """What was synchronised is exported like what was not, once it is undone."""
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), pdo.nn.MagnitudeBatchNorm2d(P8.irrep(1, 3)))
    undone = unsynchronise(pdo.nn.synchronise(copy.deepcopy(net)))
    assert [type(m) for m in undone.modules()] == [type(m) for m in net.modules()]
    x = torch.randn(2, 3, 5, 5)
    assert torch.equal(pdo.export(undone)(x), pdo.export(net)(x))
    assert pdo.nn.synchronise(pdo.BatchNorm2d(P4.regular(1))).ranks is not None
    assert unsynchronise(pdo.nn.synchronise(pdo.BatchNorm2d(P4.regular(1)))).ranks is None
