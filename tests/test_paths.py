"""Which way a layer takes, what it says when a way is closed, and that no change of weights is missed."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import relative
from layer_pairs import difference, needs_kernel, pair

import pdoconv as pdo
from pdoconv.filters import paper
from pdoconv.kernels import choice, native, ops

# Choice of path


@needs_kernel
def test_auto_takes_the_fast_path_where_it_pays():
    types = [pdo.cyclic(8).regular(n) for n in (16, 1)]
    wide, narrow = (pdo.PDOConv2d(t, t, padding=2) for t in types)
    assert wide._takes_fast(torch.zeros(4, 128, 32, 32), wide._fast)
    assert not wide._takes_fast(torch.zeros(1, 128, 2, 2), wide._fast)
    assert not narrow._takes_fast(torch.zeros(4, 8, 32, 32), narrow._fast)
    assert not wide._takes_fast(torch.zeros(4, 128, 32, 32, dtype=torch.bfloat16), wide._fast)
    assert not wide._takes_fast(torch.zeros(4, 128, 32, 32, device="meta"), wide._fast)
    with torch.autocast("cpu", torch.bfloat16):
        assert not wide._takes_fast(torch.zeros(4, 128, 32, 32), wide._fast)
    strided = pdo.PDOConv2d(types[0], types[0], padding=2, stride=2)
    assert not strided._takes_fast(torch.zeros(4, 128, 33, 33), strided._fast)
    dense = pdo.PDOConv2d(types[0], types[0], method="dense")
    assert dense._fast is None
    x = torch.randn(2, 128, 24, 24)
    dense.load_state_dict(wide.state_dict())
    assert relative(wide(x)[:, :, 2:-2, 2:-2], dense(x)) < 1e-5


def test_unknown_and_impossible_methods():
    t = pdo.cyclic(8).regular(1)
    with pytest.raises(ValueError, match=r"method must be one of .* received 'fft'"):
        pdo.PDOConv2d(t, t, method="fft")

    class Fixed:
        """Filters that do not turn with the group."""

        def basis(self, group, size):
            return np.random.default_rng(0).standard_normal((group.order, 5, size, size))

    with pytest.raises(ValueError, match="use 'auto', 'derivatives' or 'dense'"):
        pdo.GroupConv2d(t, t, 5, filters=Fixed(), method="fourier")
    assert pdo.GroupConv2d(t, t, 5, filters=Fixed())._fast is None
    dense, fast = (
        pdo.GroupConv2d(t, t, 5, filters=Fixed(), method=m, dtype=torch.float64) for m in ("dense", "derivatives")
    )
    fast.load_state_dict(dense.state_dict())
    assert difference(dense, fast, (7, 8)) < 1e-11


@pytest.mark.parametrize("case", ["stride", "bfloat16", "autocast"])
def test_one_clear_warning_without_a_kernel(case):
    choice.warn_once.cache_clear()
    dtype = torch.bfloat16 if case == "bfloat16" else torch.float32
    dense, fast = pair(pdo.cyclic(4), dtype=dtype, padding=2, stride=2 if case == "stride" else 1)
    x = torch.randn(2, 12, 9, 9, dtype=dtype)
    with torch.autocast("cpu", torch.bfloat16, enabled=case == "autocast"):
        with pytest.warns(RuntimeWarning, match="no kernel of method='fourier' for cpu.*the result is the same"):
            y = fast(x)
        assert y.dtype == dense(x).dtype
        assert relative(fast(x), dense(x)) < 0.03  # and no second warning


@pytest.mark.parametrize("compiler", ["none", "failing", "switched off"])
def test_without_a_compiler(compiler, monkeypatch, tmp_path):
    native.library.cache_clear()
    choice.warn_once.cache_clear()
    monkeypatch.setenv("PDOCONV_CACHE", str(tmp_path))
    if compiler == "none":
        monkeypatch.setattr(native.shutil, "which", lambda name: None)
    elif compiler == "failing":
        monkeypatch.setenv("CXX", "false")
    else:
        monkeypatch.setenv("PDOCONV_NATIVE", "0")
    try:
        layer = pdo.PDOConv2d(pdo.cyclic(8).regular(16), pdo.cyclic(8).regular(16), padding=2)
        x = torch.randn(2, 128, 16, 16)
        if compiler == "switched off":
            y = layer(x)
        else:
            reason = {"none": "no C\\+\\+ compiler found", "failing": "false failed"}[compiler]
            with pytest.warns(RuntimeWarning, match=f"fast CPU kernel is not available.*{reason}"):
                y = layer(x)
        again = layer(x)  # no second warning
        dense, fast = pair(pdo.cyclic(8), padding=2)
        with pytest.warns(RuntimeWarning, match="method='fourier' without the CPU kernel"):
            assert difference(dense, fast, (7, 9)) < 1e-11
        assert torch.equal(y, again)
        assert not list(tmp_path.iterdir())
    finally:
        native.library.cache_clear()


@needs_kernel
def test_compiles_once_into_the_cache(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("PDOCONV_CACHE", str(tmp_path))
    first = native._compiled()
    assert "compiling the CPU kernel" in capfd.readouterr().err
    assert native._compiled() == first
    assert capfd.readouterr().err == ""
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


@needs_kernel
def test_damaged_library_is_made_anew(monkeypatch, tmp_path):
    monkeypatch.setenv("PDOCONV_CACHE", str(tmp_path))
    native._compiled().write_bytes(b"not a library")
    native.library.cache_clear()
    try:
        assert native.library() is not None
    finally:
        native.library.cache_clear()


@pytest.mark.parametrize("space", [(2, 9), (0, 9), (9, 0)])
@pytest.mark.parametrize("method", ["auto", "fourier"])
def test_images_too_small_for_the_kernel(space, method):
    """The same message as without the fast path."""
    layers = pair(pdo.cyclic(8), method=method, padding=0, fields=(32, 32))
    said = []
    for layer in layers:
        with pytest.raises(RuntimeError, match="input") as caught:
            layer(torch.zeros(2, 256, *space, dtype=torch.float64))
        said.append(str(caught.value))
    assert said[0] == said[1]


# Life of a layer


@pytest.mark.parametrize("method", ["dense", "fourier"])
def test_kept_weights_follow_every_change(method):
    layer = pdo.PDOConv2d(pdo.cyclic(4).regular(2), pdo.cyclic(4).regular(2), method=method).eval()
    x, keys = torch.randn(1, 8, 7, 7), set(layer.state_dict())

    def reference():
        other = pdo.PDOConv2d(layer.in_type, layer.out_type, method="dense")
        other.load_state_dict(layer.state_dict())
        return other(x)

    def step():
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
        layer(x).square().mean().backward()
        optimizer.step()

    changes = [
        lambda: None,
        step,
        lambda: layer.load_state_dict({k: v * 2 for k, v in layer.state_dict().items()}),
        lambda: layer.weight.data.mul_(3),
        lambda: layer.double().float(),
        lambda: torch.nn.init.normal_(layer.weight),
    ]
    for change in changes:
        change()
        with torch.no_grad():
            assert relative(layer(x), reference()) < 1e-5
            kept = layer._cache[2]
            layer(x)
            assert layer._cache[2] is kept
    assert set(layer.state_dict()) == keys


def test_copies_and_pickles():
    dense, fast = pair(pdo.dihedral(4), padding=2)
    for other in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        assert difference(dense, other, (6, 7)) < 1e-11


@needs_kernel
def test_torch_compile():
    """One graph, forward and backward, with the fast path in it."""
    torch._dynamo.reset()
    dense, fast = pair(pdo.cyclic(8), padding=2, fields=(8, 8), method="auto", dtype=torch.float32)
    assert fast._takes_fast(torch.zeros(4, 64, 32, 32), fast._fast)
    compiled = torch.compile(fast, fullgraph=True, backend="aot_eager")
    x = torch.randn(4, 64, 32, 32)
    y = compiled(x)
    y.square().mean().backward()
    dense(x).square().mean().backward()
    assert relative(y, dense(x)) < 1e-5
    assert relative(fast.weight.grad, dense.weight.grad) < 1e-4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp itself gives one
def test_transforms_and_export_take_the_dense_kernel():
    dense, fast = pair(pdo.cyclic(4), padding=2)
    x = torch.randn(3, 2, 12, 6, 6, dtype=torch.float64)
    assert relative(torch.func.vmap(fast)(x), torch.stack([dense(v) for v in x])) < 1e-11
    y, tangent = torch.func.jvp(fast, (x[0],), (x[1],))
    assert relative(y, dense(x[0])) < 1e-11
    assert relative(tangent, dense(x[1]) - dense(torch.zeros_like(x[1]))) < 1e-11
    program = torch.export.export(fast, (x[0],))
    assert not any("pdoconv" in str(node.target) for node in program.graph.nodes)
    assert relative(program.module()(x[0]), dense(x[0])) < 1e-11


@needs_kernel
def test_bad_values_stay_in_their_image():
    dense, fast = pair(pdo.cyclic(8), padding=2, fields=(4, 4))
    x = torch.randn(6, 32, 7, 7, dtype=torch.float64)
    x[2, 5, 3, 3] = torch.nan
    x.requires_grad_()
    y = fast(x)
    bad = torch.isnan(y).flatten(1).any(1)
    assert bad.tolist() == [False, False, True, False, False, False]
    clean = [0, 1, 3, 4, 5]
    assert relative(y[clean], dense(x)[clean]) < 1e-11


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_empty_batch(stride):
    _, fast = pair(pdo.cyclic(4), padding=2, stride=stride)
    x = torch.zeros(0, 12, 9, 9, dtype=torch.float64, requires_grad=True)
    y = fast(x)
    y.sum().backward()
    assert y.shape == (0, 8, *(9 if stride == 1 else 5,) * 2)
    assert fast.weight.grad.abs().max() == 0


def test_tensors_elsewhere_are_refused():
    """Operators never read memory of another device or dtype."""
    _, fast = pair(pdo.cyclic(8), padding=2, fields=(32, 32), method="auto", dtype=torch.float32)
    assert not fast.to("meta")._takes_fast(torch.zeros(4, 256, 32, 32), fast._fast)
    plan, geometry = chosen = (pair(pdo.cyclic(4))[1]._fast.plan, [3, 2, 1, 0, 1])
    x, flat = torch.zeros(1, 12, 9, 9), ops.blocks(torch.zeros(2, 3, 4, 13), plan)
    for wrong in (flat.double(), flat[:-1]):
        with pytest.raises(ValueError, match="expected tensors of one device and dtype"):
            ops.forward(x, wrong, *chosen, None)
    assert ops.forward(x, flat, plan, geometry, None).shape == (1, 8, 5, 5)


def test_kept_weights_after_inference_mode():
    """What inference keeps serves training of other layers, and every dtype has its own."""
    _, fast = pair(pdo.cyclic(4), padding=2)
    fast.requires_grad_(False)
    x = torch.randn(1, 12, 7, 7, dtype=torch.float64)
    with torch.inference_mode():
        fast(x)
    x.requires_grad_()
    fast(x).sum().backward()
    assert x.grad is not None


@needs_kernel
def test_weight_gradients_repeat():
    """Bit by bit, with several threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        _, fast = pair(pdo.cyclic(8), padding=2, fields=(4, 4), dtype=torch.float32)
        x, found = torch.randn(9, 32, 40, 40), []
        for _ in range(6):
            fast.zero_grad()
            fast(x).square().sum().backward()
            found.append(fast.weight.grad.clone())
        assert all(torch.equal(found[0], other) for other in found)
    finally:
        torch.set_num_threads(before)


def test_other_users_libraries_are_not_loaded(monkeypatch, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    monkeypatch.setenv("PDOCONV_CACHE", str(shared))
    assert native._cache() != shared
    shared.chmod(0o700)
    assert native._cache() == shared


def test_template_weights():
    layers = pair(pdo.cyclic(8), filters=replace(paper(), frame_offset=0.3), padding=2)
    assert difference(*layers, (8, 9)) < 1e-11
