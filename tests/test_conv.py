"""The layer against the authors' own functions, an independent numpy expansion, and a loop-written reference."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.filters import default, paper, pointwise

GROUP = {4: pdo.cyclic(4), 8: pdo.cyclic(8)}


def nchw(array, dtype=torch.float32):
    return torch.as_tensor(array.transpose(0, 3, 1, 2).copy(), dtype=dtype)


def lifting_weight(hwio):
    """`(3, 3, in, out)` to `(out, in, 1, 9)`."""
    return torch.as_tensor(hwio.reshape(9, *hwio.shape[2:]).transpose(2, 1, 0)[:, :, None].copy())


def group_weight(hwio, order):
    """`(k, k, in * |G|, out)` to `(out, in, |G|, k * k)`."""
    k, _, channels, out = hwio.shape
    return torch.as_tensor(hwio.reshape(k * k, channels // order, order, out).transpose(3, 1, 2, 0).copy())


def layer_with(weight, in_type, out_type, kernel_size=5, **options):
    options = {"filters": paper(), "bias": False} | options
    layer = pdo.GroupConv2d(in_type, out_type, kernel_size, **options).to(weight.dtype)
    layer.weight.data = weight
    return layer


@pytest.mark.parametrize("p", [4, 8])
def test_authors_lifting_layer(oracle, p):
    a, group = oracle("authors_conv_layers_p4_p8"), GROUP[p]
    weight = lifting_weight(a[f"p{p}_lift_w_hwio"]).float()
    x = nchw(a[f"p{p}_lift_x_nhwc"])
    kernel = torch.as_tensor(a[f"p{p}_lift_kernel_hwio"].transpose(3, 2, 0, 1).copy())
    for padding, key in ((1, "valid_pad1"), ("same", "same")):
        layer = layer_with(weight, group.trivial(2), group.regular(3), padding=padding)
        assert relative(layer.kernel(), kernel) < 1e-4
        assert relative(layer(x), nchw(a[f"p{p}_lift_y_{key}"])) < 1e-4


@pytest.mark.parametrize("p", [4, 8])
def test_authors_group_layer(oracle, p):
    a, group = oracle("authors_conv_layers_p4_p8"), GROUP[p]
    weight = group_weight(a[f"p{p}_grp_w_hwio"], p).float()
    x, types = nchw(a[f"p{p}_grp_x_nhwc"]), (group.regular(2), group.regular(3))
    for options, key in (({"padding": "same"}, "same"), ({"stride": 2, "padding": 2}, "stride2_pad2")):
        assert relative(layer_with(weight, *types, **options)(x), nchw(a[f"p{p}_grp_y_{key}"])) < 1e-4
    layer = layer_with(weight, *types, padding=1)
    x.requires_grad_()
    y = layer(x)
    assert relative(y, nchw(a[f"p{p}_grp_y_pad1"])) < 1e-4
    (y * nchw(a[f"p{p}_grp_gout"])).sum().backward()
    assert relative(layer.weight.grad, group_weight(a[f"p{p}_grp_dw"], p)) < 1e-4
    assert relative(x.grad, nchw(a[f"p{p}_grp_dx"])) < 1e-4


@pytest.mark.parametrize("p", [4, 8])
def test_authors_pointwise_layer(oracle, p):
    a, group = oracle("authors_conv_layers_p4_p8"), GROUP[p]
    weight = group_weight(a[f"p{p}_1x1_w"], p).float()
    x, types = nchw(a[f"p{p}_grp_x_nhwc"]), (group.regular(2), group.regular(3))
    for stride, key in ((1, ""), (2, "_stride2")):
        layer = layer_with(weight, *types, 1, filters=pointwise(), stride=stride)
        assert relative(layer(x), nchw(a[f"p{p}_1x1_y{key}"])) < 1e-4


@pytest.mark.parametrize("name", ["C4", "C6", "C8", "D4", "D6", "D8"])
@pytest.mark.parametrize(("key", "offset"), [("off0", 0.0), ("offpi8", math.pi / 8)])
def test_numpy_kernels(oracle, name, key, offset):
    a, group = oracle("numpy_group_kernels"), pdo.group(name)
    lift = torch.as_tensor(a[f"{name}_{key}_lift_w_io33"]).reshape(1, 2, 9).permute(1, 0, 2)[:, :, None]
    layer = layer_with(lift, group.trivial(1), group.regular(2), filters=paper(offset))
    assert relative(layer.kernel(), a[f"{name}_{key}_lift_K_oihw"]) < 1e-12
    w = torch.as_tensor(a[f"{name}_{key}_grp_w_igo33"])
    w = w.reshape(*w.shape[:3], 9).permute(2, 0, 1, 3)
    layer = layer_with(w, group.regular(2), group.regular(2), filters=paper(offset))
    assert relative(layer.kernel(), a[f"{name}_{key}_grp_K_oihw"]) < 1e-12
    wrong = layer_with(w.flip(2), group.regular(2), group.regular(2), filters=paper(offset))
    assert relative(wrong.kernel(), a[f"{name}_{key}_grp_K_oihw"]) > 0.1  # negative control: wrong shift direction


@pytest.mark.parametrize("name", ["C1", "D1", "C6", "D4"])
@pytest.mark.parametrize(
    ("kind_in", "kind_out"), [("regular", "regular"), ("trivial", "regular"), ("regular", "trivial")]
)
def test_loop_reference(name, kind_in, kind_out):
    """Write the definition out element by element, from the matrices alone."""
    group, fields = pdo.group(name), {"in": 2, "out": 3}
    in_type, out_type = getattr(group, kind_in)(2), getattr(group, kind_out)(3)
    layer = pdo.PDOConv2d(in_type, out_type, filters=paper(), dtype=torch.float64)
    basis = paper().basis(group, 5)
    kernel = layer.kernel().detach().numpy()
    n = group.order
    for o in range(fields["out"]):
        for i in range(fields["in"]):
            for g in range(n if kind_out == "regular" else 1):
                for h in range(n if kind_in == "regular" else 1):
                    r = 0
                    if kind_in == kind_out == "regular":
                        r = group.index(np.linalg.inv(group.matrices[g]) @ group.matrices[h])
                    frame = g if kind_out == "regular" else h
                    expected = sum(layer.weight[o, i, r, b].item() * basis[frame, b] for b in range(9))
                    row = o * n + g if kind_out == "regular" else o
                    column = i * n + h if kind_in == "regular" else i
                    assert np.abs(kernel[row, column] - expected).max() < 1e-12


def test_arguments_are_those_of_conv2d():
    """Every geometry equals `nn.Conv2d` with the same dense weight."""
    C4 = pdo.cyclic(4)
    x = torch.randn(2, 8, 11, 13)
    for options in (
        {"stride": 2, "padding": 1},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        *({"padding": 2, "padding_mode": mode} for mode in ("zeros", "reflect", "replicate", "circular")),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the grid rule is not the matter here
            layer = pdo.PDOConv2d(C4.regular(2), C4.regular(3), **options)
            layer.bias.data.normal_()
            plain = torch.nn.Conv2d(8, 12, 5, **options)
            plain.weight.data = layer.kernel().detach()
            plain.bias.data = layer.bias.detach().repeat_interleave(4)
            assert torch.equal(layer(x), plain(x))


def test_shape_of_the_weight():
    D4 = pdo.dihedral(4)
    shapes = {
        ("trivial", "regular"): (3, 2, 1, 9),
        ("regular", "regular"): (3, 2, 8, 9),
        ("regular", "trivial"): (3, 2, 1, 9),
        ("trivial", "trivial"): (3, 2, 1, 3),  # the averages of 1, of u^2 or v^2, of u^2 v^2
    }
    for (first, last), shape in shapes.items():
        layer = pdo.PDOConv2d(getattr(D4, first)(2), getattr(D4, last)(3), filters=paper())
        assert layer.weight.shape == shape
        assert layer.bias.shape == (3,)


def test_frame_offset():
    C8 = pdo.cyclic(8)
    types = C8.trivial(1), C8.regular(1)
    assert pdo.PDOConv2d(*types, filters=paper(), frame_offset=0.0).filters == paper(0.0)
    assert pdo.PDOConv2d(*types, frame_offset=0.3).filters == replace(default(2), frame_offset=0.3)
    assert pdo.PDOConv2d(*types).filters == default(2) == pdo.filters.pdo()


def test_default_for_small_kernels():
    """A 3x3 kernel carries orders 0 to 2, a 1x1 kernel order 0."""
    C8 = pdo.cyclic(8)
    for size, operators in ((1, 1), (3, 6), (7, 13)):
        layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), size, padding=size // 2).double()
        assert layer.weight.shape[-1] == operators
        assert pdo.equivariance_error(layer, 90, size=9) < 1e-12
        assert pdo.equivariance_error(layer, 45) < 1e-2


def test_gradients():
    C4 = pdo.cyclic(4)
    for first, last in ((C4.regular(1), C4.regular(1)), (C4.trivial(2), C4.regular(1)), (C4.regular(1), C4.trivial(2))):
        layer = pdo.PDOConv2d(first, last, padding=2, dtype=torch.float64)
        x = torch.randn(1, first.channels, 5, 5, dtype=torch.float64, requires_grad=True)

        def run(x, w, b, layer=layer):
            return torch.func.functional_call(layer, {"weight": w, "bias": b}, (x,))

        assert torch.autograd.gradcheck(run, (x, layer.weight, layer.bias))


def test_inference_follows_every_change_of_the_weights():
    """The kernel kept in eval mode is never stale, and never in the state_dict."""
    C4 = pdo.cyclic(4)
    layer = pdo.PDOConv2d(C4.regular(1), C4.regular(1), bias=False).eval()
    keys, x = list(layer.state_dict()), torch.randn(1, 4, 7, 7)

    def check():
        with torch.no_grad():
            assert torch.equal(layer(x), torch.nn.functional.conv2d(x, layer.kernel()))

    check()
    layer.weight.data.mul_(2)  # the version counter does not see this one
    check()
    torch.optim.SGD(layer.parameters(), lr=1.0)
    layer.load_state_dict({"weight": torch.randn_like(layer.weight)})
    check()
    with torch.no_grad():
        layer.weight.add_(1)
    check()
    with torch.inference_mode():
        assert torch.equal(layer(x), torch.nn.functional.conv2d(x, layer.kernel()))
    other = {"weight": torch.randn_like(layer.weight)}
    with torch.no_grad():
        y = torch.func.functional_call(layer, other, (x,))
    layer.load_state_dict(other)
    with torch.no_grad():
        assert torch.equal(layer(x), y)
    layer.double()
    x = x.double()
    check()
    assert list(layer.state_dict()) == keys == ["weight"]


C8 = pdo.cyclic(8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4, "filters": paper()}, "need an odd kernel_size, received 4"),
        ({"kernel_size": 4, "padding": "same"}, "padding='same' needs an odd kernel_size"),
        ({"kernel_size": 3, "filters": paper()}, "kernel_size=5"),
        ({"kernel_size": 0}, ">= 1"),
        ({"kernel_size": (5, 5)}, "one whole number"),
        ({"padding": -1}, "padding must be"),
        ({"padding": (1, 2)}, "padding must be"),
        ({"padding": "full"}, "padding must be"),
        ({"padding": "same", "stride": 2}, "needs stride 1"),
        ({"stride": 0}, "stride must be"),
        ({"dilation": 0}, "dilation must be"),
        ({"padding_mode": "wrap"}, "padding_mode"),
        ({"init": "he"}, "init must be"),
        ({"filters": "paper"}, "finds one by name"),
        ({"out_type": pdo.cyclic(4).regular(1)}, "use one group"),
        ({"out_type": 8}, "expected a field type"),
        ({"in_type": None}, "expected a field type"),
        ({"out_type": C8.irrep(1, 1), "method": "fourier"}, "all regular or all trivial of finite"),
    ],
)
def test_bad_arguments(options, message):
    options = {"in_type": C8.regular(1), "out_type": C8.regular(1)} | options
    with pytest.raises(ValueError, match=message):
        pdo.PDOConv2d(**options)


def test_bad_inputs():
    layer = pdo.PDOConv2d(C8.regular(2), C8.regular(1))
    with pytest.raises(ValueError, match=r"expected \(batch, 16, height, width\) for C8: 2 regular, received"):
        layer(torch.zeros(1, 15, 9, 9))
    with pytest.raises(ValueError, match="batch axis"):
        layer(torch.zeros(16, 9, 9))
    with pytest.raises(ValueError, match=r"expected torch.float32 as the weights have, received torch.float64"):
        layer(torch.zeros(1, 16, 9, 9, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"received torch.uint8"):
        layer(torch.zeros(1, 16, 9, 9, dtype=torch.uint8))


def test_strided_layer_warns_once_and_names_sizes():
    layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), stride=2, padding=2)
    with pytest.warns(UserWarning, match=r"side 32 .* Sides 31, 33 and others that differ by 2"):
        layer(torch.zeros(1, 1, 32, 32))
    layer(torch.zeros(1, 1, 32, 32))  # warnings are errors in these tests: no second one
    pdo.PDOConv2d(C8.trivial(1), C8.regular(1), stride=2, padding=2)(torch.zeros(1, 1, 33, 33))
    C3 = pdo.cyclic(3)  # has no exact symmetry to lose
    pdo.PDOConv2d(C3.trivial(1), C3.regular(1), stride=2, padding=2)(torch.zeros(1, 1, 32, 32))
