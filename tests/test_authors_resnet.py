"""The authors' residual networks, from their equations."""

from dataclasses import replace

import pytest
import torch
from authors_resnet import Reference
from conftest import relative

import pdoconv as pdo
from pdoconv.filters import paper
from pdoconv.models import create
from pdoconv.models.resnet import PreActResNet

pytestmark = pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
CASES = {
    "p4": (Reference(4, units=2), 9),
    "p6": (Reference(6, widths=(2, 3)), 10),
    "p8": (Reference(8), 12),
    "p8, oblong": (Reference(8, widths=(3, 3), units=2), (11, 10)),
    "p6m": (Reference(6, True, widths=(1, 2)), 9),
}
WRONG = {
    "shortcut of the raw input": {"raw_shortcut": True},
    "no offset": {"offset": 0.0},
    "offset to the other side": {"offset": -torch.pi / 8},
    "epsilon of torch": {"eps": 1e-5},
    "group axis shifted the other way": {"wrong_shift": True},
}


def pair(case):
    reference, side = CASES[case]
    reference = replace(reference, variables={}).draw()
    name = f"p{reference.turns}{'m' * reference.mirrored}"
    net = PreActResNet(
        pdo.group(name),
        widths=reference.widths,
        units=reference.units,
        classes=reference.classes,
        filters=paper(),
        init="authors",
    ).double()
    missing, unexpected = net.load_state_dict(reference.state(), strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    height, width = (side, side) if isinstance(side, int) else side
    return reference, net, torch.randn(3, 3, height, width, dtype=torch.float64)


def nhwc(x):
    return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("case", CASES)
def test_logits(case, train):
    reference, net, x = pair(case)
    with torch.no_grad():
        assert relative(net.train(train)(x), reference(nhwc(x), train=train)) < 1e-10


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("case", ["p4", "p8", "p6m"])
def test_wrong_equations_are_rejected(case, wrong):
    reference, net, x = pair(case)
    with torch.no_grad():
        assert relative(net.eval()(x), replace(reference, **WRONG[wrong])(nhwc(x))) > 1e-4


def test_padding_of_strided_layers_is_the_same_on_both_sides():
    """TensorFlow's SAME would pad even sides by 1 and 2; on odd sides both are alike."""
    for case, differs in (("p8", True), ("p4", False)):
        reference, net, x = pair(case)
        with torch.no_grad():
            error = relative(net.eval()(x), replace(reference, same_padding=True)(nhwc(x)))
        assert (error > 1e-3) == differs
        assert differs or error < 1e-10


def test_statistics_are_of_fields():
    reference, net, x = pair("p8")
    with torch.no_grad():
        assert relative(net.train()(x), replace(reference, by_channel=True)(nhwc(x), train=True)) > 1e-3


@pytest.mark.parametrize("case", ["p4", "p6m"])
def test_gradients(case):
    """Of cross-entropy, in train mode, of every parameter."""
    reference, net, x = pair(case)
    labels = torch.arange(len(x))
    torch.nn.functional.cross_entropy(net.train()(x), labels).backward()
    torch.nn.functional.cross_entropy(reference(nhwc(x), train=True), labels).backward()
    theirs = reference.state({name: t.grad for name, t in reference.variables.items() if t.requires_grad})
    found = dict(net.named_parameters())
    assert set(found) == set(theirs)
    for name, parameter in found.items():
        assert relative(parameter.grad, theirs[name]) < 1e-8, name


def test_layers_of_the_reference_equal_the_authors(oracle):
    """Arrays made by running their functions, in float32: lifting, group convolution, 1x1, strides."""
    arrays = oracle("authors_conv_layers_p4_p8")
    for turns in (4, 8):
        found = {key[3:]: torch.tensor(value) for key, value in arrays.items() if key.startswith(f"p{turns}_")}
        weights = {"first": found["lift_w_hwio"], "group": found["grp_w_hwio"], "one": found["1x1_w"]}
        reference = Reference(turns, variables={key: w.double() for key, w in weights.items()})
        for name, into, out, stride in (
            ("first", "lift_x_nhwc", "lift_y_same", 1),
            ("group", "grp_x_nhwc", "grp_y_same", 1),
            ("group", "grp_x_nhwc", "grp_y_stride2_pad2", 2),
            ("one", "grp_x_nhwc", "1x1_y", 1),
            ("one", "grp_x_nhwc", "1x1_y_stride2", 2),
        ):
            assert relative(reference.convolve(name, found[into].double(), stride), found[out]) < 1e-5
        assert relative(reference.kernel("first"), found["lift_kernel_hwio"]) < 1e-5
        shifted = replace(reference, wrong_shift=True).convolve("group", found["grp_x_nhwc"].double())
        assert relative(shifted, found["grp_y_same"]) > 0.1


def test_mirrored_kernels_of_the_reference(oracle):
    arrays = oracle("numpy_group_kernels")
    w = torch.tensor(arrays["D6_offpi8_grp_w_igo33"]).double()  # (in, r, out, 3, 3)
    reference = Reference(6, True, variables={"group": w.permute(3, 4, 0, 1, 2).flatten(2, 3)})
    expected = arrays["D6_offpi8_grp_K_oihw"]
    assert relative(reference.kernel("group").permute(3, 2, 0, 1), expected) < 1e-12
    assert relative(replace(reference, offset=0.0).kernel("group").permute(3, 2, 0, 1), expected) > 1e-2


def test_named_networks_start_as_the_authors():
    """Truncated normal weights, variance 2 over taps and channels; classifier Glorot uniform with biases 0.1."""
    net = create("pdo-resnet44-p8", units=1)
    weight = net.features[1].residual[0].weight.detach()
    std = (2 / (9 * 11 * 8)) ** 0.5
    assert abs(float(weight.std()) / std - 1) < 0.03
    assert weight.abs().max() < 2 * std * 1.3**0.5 + 1e-6
    assert torch.equal(net.classifier.bias, torch.full((10,), 0.1))
    limit = (6 / (45 * 8 + 10)) ** 0.5
    assert 0.95 * limit < net.classifier.weight.abs().max() <= limit
    other = create("pdo-resnet44-p8", units=1, init="unit")
    assert not torch.equal(other.classifier.bias, net.classifier.bias)
