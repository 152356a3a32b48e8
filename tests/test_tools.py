"""PyTorch's own tools on the small net: what is broken in other equivariant libraries must work here."""

import copy
import time

import pytest
import torch
from conftest import copies, relative
from safetensors.torch import load, save

import pdoconv as pdo

pytestmark = pytest.mark.filterwarnings("default")  # these tools warn about themselves


@pytest.fixture
def net():
    net = pdo.models.mnist_small(dropout=0.0)
    for part in net:
        if isinstance(part, pdo.BatchNorm2d):
            part.running_mean.normal_()
            torch.nn.init.uniform_(part.weight, 0.5, 1.5)
    return net


@pytest.fixture
def x():
    return torch.randn(4, 1, 28, 28)


def test_compile_fullgraph(net, x):
    torch._dynamo.reset()
    compiled = torch.compile(net, fullgraph=True)
    net.eval()
    with torch.no_grad():
        assert relative(compiled(x), net(x)) < 1e-4
    net.train()
    state = copy.deepcopy(net.state_dict())
    compiled(x).square().sum().backward()
    ours = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    net.load_state_dict(state)
    net(x).square().sum().backward()
    for mine, p in zip(ours, net.parameters(), strict=True):
        assert relative(mine, p.grad) < 1e-2 or (mine - p.grad).abs().max() < 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_torch_export(net, x, training):
    net.train(training)
    expected = copy.deepcopy(net)(x)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert relative(program.module()(x), expected) < 1e-4
    if not training:
        with torch.no_grad():
            net(x)  # a kernel is kept
            program = torch.export.export(net, (x,))
            assert relative(program.module()(x), expected) < 1e-4
            assert torch.compile(net, fullgraph=True, backend="eager")(x).shape == expected.shape


def test_onnx_of_the_net_itself(net, x, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net.eval()
    program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
    program.save(str(tmp_path / "net.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    theirs = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    assert relative(theirs, net(x)) < 1e-4


def test_autocast(net, x):
    net.eval()
    exact = net(x)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
        y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16
    assert relative(y, exact) < 5e-2
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())
    with torch.no_grad():  # the kernel kept for inference is not rounded by autocast
        with torch.autocast("cpu", torch.bfloat16):
            net(x)
        assert relative(net(x), exact) < 1e-5


def test_autocast_expands_filters_exactly():
    layer = pdo.PDOConv2d(pdo.cyclic(4).regular(1), pdo.cyclic(4).regular(1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.kernel(), pdo.PDOConv2d.kernel(layer))
        assert layer.kernel().dtype == torch.float32
        inside = layer.kernel()
    assert torch.equal(inside, layer.kernel())


def test_channels_last(net, x):
    expected = net(x)
    fresh = copy.deepcopy(net).to(memory_format=torch.channels_last)
    assert relative(fresh(x.to(memory_format=torch.channels_last)), expected) < 1e-4


@pytest.mark.parametrize("mode", ["train", "eval", "eval after use"])
def test_deepcopy_and_pickle(net, x, mode):
    net.train(mode == "train")
    if mode == "eval after use":
        with torch.no_grad():
            net(x)
    net(x)  # with a graph
    reference = copy.deepcopy(net.state_dict())
    expected = net(x)
    for other in copies(net):
        assert other is not net
        if mode == "train":
            other.load_state_dict(reference)
        assert relative(other(x), expected) < 1e-5


def test_conversion_leaves_other_models_alone(x):
    """One model to float64 and bfloat16: others keep their precision, and the way back costs nothing."""
    first, second = (pdo.PDOConv2d(pdo.cyclic(8).regular(1), pdo.cyclic(8).regular(1)) for _ in range(2))
    basis = second.basis.clone()
    first.double()
    exact = torch.tensor(pdo.filters.default(2).basis(pdo.cyclic(8), 5))
    assert torch.equal(first.basis, exact)  # not the float32 basis widened
    first.to(torch.bfloat16)
    assert first(torch.randn(1, 8, 9, 9, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert second.basis.dtype == torch.float32
    assert torch.equal(second.basis, basis)
    third = pdo.PDOConv2d(pdo.cyclic(8).regular(1), pdo.cyclic(8).regular(1))
    assert third.basis.dtype == torch.float32
    first.double()
    assert torch.equal(first.basis, exact)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_whole_net_in_other_precisions(net, x, dtype):
    net.eval()
    expected = net(x)
    assert relative(copy.deepcopy(net).to(dtype)(x.to(dtype)), expected) < (1e-4 if dtype == torch.float64 else 0.2)


def test_meta_device(net, x):
    with torch.device("meta"):
        empty = pdo.models.mnist_small(dropout=0.0)
    assert all(p.is_meta for p in empty.parameters())
    empty.to_empty(device="cpu").load_state_dict(net.state_dict())
    assert relative(empty.eval()(x), net.eval()(x)) < 1e-6
    with torch.device("meta"):
        empty = pdo.models.mnist_small(dropout=0.0)
    empty.load_state_dict(net.state_dict(), assign=True)
    assert relative(empty.eval()(x), net.eval()(x)) < 1e-6
    empty.to("cpu")
    assert relative(empty(x), net(x)) < 1e-6
    assert pdo.models.mnist_small().to("meta")(x.to("meta")).shape == (4, 10)


@pytest.mark.parametrize("training", [False, True])
def test_functional_call_and_grad(net, x, training):
    net.train(training)
    parameters = dict(net.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}

    def loss(parameters, buffers):
        return torch.func.functional_call(net, (parameters, buffers), (x,)).square().sum()

    gradients = torch.func.grad(loss)(parameters, buffers)
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients.values())


def test_vmap_over_models():
    """An ensemble of layers by `torch.func`."""
    layers = [pdo.PDOConv2d(pdo.cyclic(4).trivial(1), pdo.cyclic(4).regular(1)) for _ in range(3)]
    parameters, buffers = torch.func.stack_module_state(layers)
    x = torch.randn(1, 1, 7, 7)
    base = layers[0]
    y = torch.func.vmap(lambda p, b: torch.func.functional_call(base, (p, b), (x,)))(parameters, buffers)
    base.eval()
    with torch.no_grad():
        z = torch.func.vmap(lambda p, b: torch.func.functional_call(base, (p, b), (x,)))(parameters, buffers)
    for out, inferred, layer in zip(y, z, layers, strict=True):
        assert relative(out, layer(x)) < 1e-5
        assert relative(inferred, layer(x)) < 1e-5


def test_safetensors_and_state_dict(net, x):
    net.eval()
    expected, keys = net(x), list(net.state_dict())
    with torch.no_grad():
        net(x)
    assert list(net.state_dict()) == keys == list(net.train().state_dict())
    parameters = {name for name, _ in net.named_parameters()}
    assert {k.rsplit(".", 1)[1] for k in keys if k not in parameters} == {
        "running_mean",
        "running_var",
        "num_batches_tracked",
    }
    other = pdo.models.mnist_small(dropout=0.0)
    other.load_state_dict(load(save(net.state_dict())))
    assert torch.equal(other.eval()(x), net.eval()(x))
    assert relative(other(x), expected) < 1e-6


def test_construction_is_quick():
    C8 = pdo.cyclic(8)
    pdo.PDOConv2d(C8.regular(16), C8.regular(16))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        pdo.PDOConv2d(C8.regular(16), C8.regular(16))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02


def test_constants_survive_a_failed_conversion_and_follow_assigned_weights():
    layer = pdo.PDOConv2d(pdo.cyclic(8).trivial(1), pdo.cyclic(8).regular(1))
    x = torch.randn(1, 1, 9, 9)
    expected = layer(x)
    with pytest.raises((RuntimeError, AssertionError)):
        layer.to("no such device")
    with pytest.raises(ZeroDivisionError):
        layer._apply(lambda t: t / (1 // 0))
    assert torch.equal(layer(x), expected)
    double = pdo.PDOConv2d(pdo.cyclic(8).trivial(1), pdo.cyclic(8).regular(1), dtype=torch.float64)
    layer.load_state_dict(double.state_dict(), assign=True)
    assert torch.equal(layer.kernel(), double.kernel())


def test_survey_of_any_module(tmp_path, monkeypatch):
    """A typed layer, a typed network, a plain CNN from a user's own file; what is no module is refused."""
    from pdoconv.survey import load, survey

    layer, size = load("isotropic")
    found = survey(layer, size=size, step=90)
    assert list(found) == ["angle", "frequency", "size"]
    assert found["angle"]["layer"][45.0] < 1e-3
    assert found["size"]["layer"][65] < found["size"]["layer"][33]
    (tmp_path / "mine.py").write_text(
        "from torch import nn\nthing = 3\n"
        "def net():\n    return nn.Sequential(nn.Conv2d(2, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    plain, _ = load("mine:net")
    errors = survey(plain, size=15, step=45)["angle"]["output"]
    assert list(errors) == [45.0 * k for k in range(9)]
    assert errors[0.0] == 0 < errors[90.0]
    with pytest.raises(ValueError, match="no torch module"):
        load("mine:thing")
    with pytest.raises(ValueError, match="neither field types"):
        survey(torch.nn.ReLU(), size=9)
