"""PyTorch's own tools on networks of mixed fields."""

import copy
import pickle

import pytest
import torch
from conftest import copies, relative
from safetensors.torch import load, save
from torch import nn

import pdoconv as pdo
from pdoconv.export import to_onnx

pytestmark = pytest.mark.filterwarnings("default")  # these tools warn about themselves

C8, D8 = pdo.cyclic(8), pdo.dihedral(8)
HEADS = ("vectors", "classes")


def make(head):
    """A network with every kind of field and layer; after the restriction mirror images may differ."""
    hidden = D8.regular(1) + D8.trivial(2) + D8.irrep(1, 2) + D8.irrep(0, pseudo=True)
    gate, turn = pdo.GatedActivation(hidden), pdo.Restrict(hidden, C8)
    after = C8.regular(1) + C8.trivial(1) + C8.irrep(1, 2) + C8.irrep(2)
    tail = {
        "vectors": lambda: [pdo.VectorOutput(after, 2)],
        "classes": lambda: [pdo.GroupPool(after), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)],
    }[head]()
    return pdo.Sequential(
        pdo.PDOConv2d(D8.trivial(1), gate.in_type, padding=2),
        pdo.BatchNorm2d(gate.in_type),
        gate,
        pdo.MaxPool2d(hidden, 2),
        turn,
        pdo.PDOConv2d(turn.out_type, after, padding=2),
        pdo.BatchNorm2d(after),
        pdo.NormActivation(after),
        pdo.FieldDropout(after, 0.0),
        *tail,
    )


def warmed(net):
    """Parameters and statistics that matter."""
    for part in net.modules():
        if isinstance(part, pdo.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias)
    for _ in range(3):
        net(torch.randn(4, 1, 12, 12) * 2 + 1)
    return net


@pytest.fixture(params=HEADS)
def net(request):
    return warmed(make(request.param))


@pytest.fixture
def x():
    return torch.randn(4, 1, 12, 12)


def steps(net, x, call=None):
    """Output and gradients of a training step, and the statistics after it."""
    net.zero_grad()
    x = x.detach().requires_grad_()
    y = (call or net)(x)
    y.square().mean().backward()
    found = {"y": y, "x": x.grad, **{name: p.grad.clone() for name, p in net.named_parameters()}}
    return found | {name: b.clone() for name, b in net.named_buffers() if "running" in name}


def test_the_network_keeps_its_law(net, x):
    """What the tools are asked to keep."""
    net.double().eval()
    image, x = D8.trivial(1), x.double()
    for g in C8.lattice_elements:
        moved = net(image.transform(x, g))
        y = net(x)
        assert relative(moved, y if y.dim() == 2 else net.out_type.transform(y, g)) < 1e-12


def test_compile_inference(net, x):
    net.eval()
    torch._dynamo.reset()
    with torch.no_grad():
        assert relative(torch.compile(net, fullgraph=True)(x), net(x)) < 1e-5


@pytest.mark.parametrize(("head", "backend"), [("vectors", "inductor"), ("classes", "aot_eager")])  # the first is slow
def test_compile_training(head, backend, x):
    torch._dynamo.reset()
    net = warmed(make(head))
    other = copy.deepcopy(net)
    found = steps(other, x, torch.compile(other, fullgraph=True, backend=backend))
    expected = steps(net, x)
    for name, value in expected.items():
        assert relative(found[name], value) < 1e-3 or (found[name] - value).abs().max() < 1e-5, name


@pytest.mark.parametrize("training", [False, True])
def test_torch_export(net, x, training):
    net.train(training)
    expected = copy.deepcopy(net)(x)
    program = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert relative(program.module()(x), expected) < 1e-5
    more = torch.randn(7, 1, 12, 12)
    assert program.module()(more).shape[0] == 7
    if not training:
        assert relative(program.module()(more), net(more)) < 1e-5


def test_onnx_file(net, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net.eval()
    to_onnx(net, tmp_path / "net.onnx", (1, 1, 12, 12))
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    for batch in (1, 5):
        x = torch.randn(batch, 1, 12, 12)
        assert relative(session.run(None, {"x": x.numpy()})[0], net(x)) < 1e-4


def test_onnx_of_the_net_itself(net, x, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    net.eval()
    program = torch.onnx.export(net, (x,), dynamo=True, verbose=False)
    program.save(str(tmp_path / "net.onnx"))
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"), providers=["CPUExecutionProvider"])
    assert relative(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0], net(x)) < 1e-4


def none_of_ours(plain):
    return not any(type(m).__module__.startswith("pdoconv") for m in plain.modules())


def test_plain_layers(net, x):
    net.eval()
    plain = pdo.export(net)
    assert none_of_ours(plain)
    assert relative(plain(x), net(x)) < 1e-5
    assert relative(pdo.export(copy.deepcopy(net).double())(x.double()), net.double()(x.double())) < 1e-12
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())  # both follow a convolution
    assert not any(p.requires_grad for p in plain.parameters())
    for other in (pickle.loads(pickle.dumps(plain)), copy.deepcopy(plain)):
        assert torch.equal(other(x), plain(x))
    other = torch.jit.trace(plain, x)
    assert relative(other(x), plain(x)) < 1e-6


MIXED = C8.irrep(1, 2) + C8.trivial(2) + C8.regular(1)
LAYERS = {
    "BatchNorm2d": lambda: warmed_norm(pdo.BatchNorm2d(MIXED)),
    "BatchNorm2d, not affine": lambda: warmed_norm(pdo.BatchNorm2d(MIXED, affine=False)),
    "BatchNorm2d of vectors": lambda: warmed_norm(pdo.BatchNorm2d(C8.vector(2))),
    "FieldDropout": lambda: pdo.FieldDropout(MIXED),
    "gated": lambda: pdo.GatedActivation(MIXED),
    "gated, no gates": lambda: pdo.GatedActivation(C8.regular(2) + C8.trivial(1)),
    "relu": lambda: pdo.NormActivation(MIXED),
    "sigmoid": lambda: pdo.NormActivation(MIXED, "sigmoid"),
    "squash": lambda: pdo.NormActivation(MIXED, "squash"),
    "pointwise": lambda: pdo.PointwiseActivation(C8.regular(1), nn.ReLU()),
    "NormPool": lambda: pdo.NormPool(MIXED),
    "GroupPool, max": lambda: pdo.GroupPool(MIXED),
    "GroupPool, mean": lambda: pdo.GroupPool(MIXED, "mean"),
    "MaxPool2d": lambda: pdo.MaxPool2d(MIXED, 3, stride=1, padding=1),
    "Restrict": lambda: pdo.Restrict(MIXED, pdo.cyclic(4)),
    "Restrict, nothing to do": lambda: pdo.Restrict(C8.vector(2), pdo.cyclic(4)),
    "VectorOutput": lambda: pdo.VectorOutput(MIXED, 2),
    "MaxPool3d": lambda: pdo.MaxPool3d(pdo.octahedral().vector(2), 2),
    "MaxPool1d": lambda: pdo.MaxPool1d(pdo.reflection().vector(2), 2),
}


NOTHING = ("FieldDropout", "Restrict, nothing to do")  # at inference: of no operation ONNX makes no file


def warmed_norm(layer):
    for _ in range(3):
        layer(torch.randn(2, layer.in_type.channels, 6, 6) * 2 + 1)
    return layer


def layer_and_maps(name):
    torch.manual_seed(3)
    layer = LAYERS[name]().eval()
    return layer, torch.randn(2, layer.in_type.channels, *[6] * layer.in_type.group.dim)


@pytest.mark.parametrize("name", LAYERS)
def test_plain_version_of_each_layer(name):
    layer, x = layer_and_maps(name)
    plain = pdo.export(layer)
    assert none_of_ours(plain)
    assert torch.equal(plain(x), layer(x)) or relative(plain(x), layer(x)) < 1e-6
    assert relative(pdo.export(copy.deepcopy(layer).double())(x.double()), layer.double()(x.double())) < 1e-12


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in NOTHING])
def test_onnx_of_each_layer(name, tmp_path):
    pytest.importorskip("onnxruntime")
    layer, x = layer_and_maps(name)
    to_onnx(layer, tmp_path / "layer.onnx", x.shape)  # compares outputs


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_graph_of_each_layer(name):
    """One graph, forward and backward, traced without a compiler."""
    layer, x = layer_and_maps(name)
    layer.train()
    found = []
    torch._dynamo.reset()
    for call in (copy.deepcopy(layer), torch.compile(layer, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        inside = x.clone().requires_grad_()
        y = call(inside)
        (y.square() * torch.rand_like(y)).sum().backward()  # through a normalisation squares alone have no gradient
        found.append((y, inside.grad))
    for a, b in zip(*found, strict=True):
        assert relative(b, a) < 1e-4


@pytest.mark.parametrize("mode", ["train", "eval", "eval after use"])
def test_deepcopy_and_pickle(net, x, mode):
    net.train(mode == "train")
    if mode == "eval after use":
        with torch.no_grad():
            net(x)
    net(x)  # with a graph
    state = copy.deepcopy(net.state_dict())
    expected = net(x)
    for other in copies(net):
        other.load_state_dict(state)
        assert relative(other(x), expected) < 1e-6
        assert [part.in_type for part in other[:9]] == [part.in_type for part in net[:9]]


@pytest.mark.parametrize("head", HEADS)
def test_state_dict(head, x):
    net = warmed(make(head)).eval()
    keys = list(net.state_dict())
    expected = net(x)
    with torch.no_grad():
        net(x)
    assert list(net.state_dict()) == keys == list(net.train().state_dict())
    parameters = {name for name, _ in net.named_parameters()}
    statistics = {"running_mean", "running_var", "num_batches_tracked"}
    assert {key.rsplit(".", 1)[1] for key in keys if key not in parameters} == statistics
    other = make(head)
    other.load_state_dict(load(save(net.state_dict())))
    assert relative(other.eval()(x), expected) < 1e-6
    for name in LAYERS:
        layer = LAYERS[name]()
        own = {key for key, _ in layer.named_parameters()}
        assert set(layer.state_dict()) - own <= statistics, name


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_precisions(net, x, dtype, training):
    net.train(training)
    other = copy.deepcopy(net).to(dtype)
    expected = steps(net, x)
    found = steps(other, x.to(dtype))
    assert all(v.dtype == dtype and v.isfinite().all() for v in found.values())
    assert relative(found["y"], expected["y"]) < {torch.float64: 1e-4, torch.float16: 3e-2, torch.bfloat16: 0.2}[dtype]
    back = other.float()
    assert relative(back.eval()(x), net.eval()(x)) < {torch.float64: 1e-4}.get(dtype, 0.1)


@pytest.mark.parametrize("training", [False, True])
def test_autocast(net, x, training):
    net.train(training)
    expected = steps(copy.deepcopy(net), x)
    with torch.autocast("cpu", torch.bfloat16):
        found = steps(net, x)
    assert found["y"].dtype == torch.bfloat16
    assert relative(found["y"], expected["y"]) < 5e-2
    for name, value in expected.items():
        assert found[name].isfinite().all()
        assert found[name].dtype == (torch.bfloat16 if name == "y" else value.dtype)


@pytest.mark.parametrize("name", LAYERS)
def test_each_layer_under_autocast(name):
    """Half-precision maps stay in half precision, whatever autocast does with norms."""
    layer, x = layer_and_maps(name)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            y = layer(x.to(dtype))
        assert y.dtype == dtype
        assert relative(y, layer(x.to(dtype).float())) < 2e-2


@pytest.mark.parametrize("training", [False, True])
def test_channels_last(net, x, training):
    net.train(training)
    expected = steps(copy.deepcopy(net), x)
    last = torch.channels_last
    for other in (net, net.to(memory_format=last)):
        found = steps(copy.deepcopy(other), x.to(memory_format=last))
        for name, value in expected.items():
            assert relative(found[name], value) < 1e-3 or (found[name] - value).abs().max() < 1e-5, name


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("field", [MIXED, C8.vector(3)], ids=str)
def test_batch_norm_keeps_the_format(field, training):
    layer = warmed_norm(pdo.BatchNorm2d(field)).train(training)
    x = torch.randn(2, field.channels, 5, 6)
    for memory in (torch.contiguous_format, torch.channels_last):
        inside = x.clone(memory_format=memory).requires_grad_()
        y = layer(inside)
        y.backward(torch.randn_like(y))
        assert y.is_contiguous(memory_format=memory)
        assert inside.grad.is_contiguous(memory_format=memory)
        assert relative(layer.eval()(inside), layer(x)) < 1e-6
        layer.train(training)


@pytest.mark.parametrize("training", [False, True])
def test_functional_call_and_grad(net, x, training):
    net.train(training)
    expected = steps(copy.deepcopy(net), x)
    parameters = dict(net.named_parameters())
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}

    def loss(parameters, buffers):
        return torch.func.functional_call(net, (parameters, buffers), (x,)).square().mean()

    gradients = torch.func.grad(loss)(parameters, buffers)
    for name, value in gradients.items():
        assert relative(value, expected[name]) < 1e-3 or (value - expected[name]).abs().max() < 1e-5, name


def test_gradients_of_each_sample(net, x):
    net.eval()
    parameters = {name: p.detach() for name, p in net.named_parameters()}
    buffers = dict(net.named_buffers())

    def loss(parameters, sample):
        return torch.func.functional_call(net, (parameters, buffers), (sample[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    net.zero_grad()
    net(x).square().sum().backward()
    for name, p in net.named_parameters():
        assert relative(each[name].sum(0), p.grad) < 1e-4, name


@pytest.mark.parametrize("head", HEADS)
def test_meta_device(head, x):
    net = warmed(make(head)).eval()
    with torch.device("meta"):
        empty = make(head)
    assert all(p.is_meta for p in empty.parameters())
    shape = net(x).shape
    assert copy.deepcopy(net).to("meta")(x.to("meta")).shape == shape
    for other in (empty, copy.deepcopy(net).to("meta")):
        other.to_empty(device="cpu").load_state_dict(net.state_dict())
        assert relative(other.eval()(x), net(x)) < 1e-6
    with torch.device("meta"):
        empty = make(head)
    empty.load_state_dict(net.state_dict(), assign=True)
    assert relative(empty.eval()(x), net(x)) < 1e-6


def test_each_layer_after_to_empty():
    """What is no parameter is made anew, and memory that was left is not read."""
    for name in LAYERS:
        layer, x = layer_and_maps(name)
        expected, state = layer(x), layer.state_dict()
        other = copy.deepcopy(layer).to("meta").to_empty(device="cpu")
        for t in (*other.parameters(), *(b for k, b in other.named_buffers() if k in state)):
            t.data.fill_(77)
        other.load_state_dict(state)
        assert torch.equal(other(x), expected), name
