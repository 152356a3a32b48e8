"""`pdoconv.save` and `pdoconv.load`: what comes back is what was saved, and how a file of it looks to others."""

import copy
import json
import os
import pickle
import re
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ORACLES, season
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import pdoconv as pdo
from pdoconv import filters, stencils
from pdoconv.files import layers, read
from pdoconv.files.document import KEY
from pdoconv.files.made import NETWORKS
from pdoconv.files.values import described, rebuilt
from pdoconv.groups import Group
from pdoconv.pde import PDEBlock
from pdoconv.pointgroups import generate
from pdoconv.recipes import COLOUR, MnistRotSmall
from pdoconv.representations import Representation
from pdoconv.training.folder import RunFolder

C4, C8, CUBE, SO2 = pdo.cyclic(4), pdo.cyclic(8), pdo.octahedral(), pdo.so2()
START = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "docs" / "start.md").read_text(), re.DOTALL)


def alike(net, other, x):
    """Same tensors bit for bit, same output."""
    a, b = net.state_dict(), other.state_dict()
    assert list(a) == list(b)
    assert all(a[key].dtype == b[key].dtype and torch.equal(a[key], b[key]) for key in a)
    with torch.no_grad():
        return torch.equal(net.eval()(x), other.eval()(x))


def saved(net, folder):
    """A network as it comes back from its file, without any help."""
    pdo.save(net, folder / "net.safetensors")
    return pdo.load(folder / "net.safetensors")


def document(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[KEY])


def small():
    u = C4.regular(2)
    return pdo.Sequential(
        pdo.PDOConv2d(C4.trivial(1), u, 3, padding=1), pdo.BatchNorm2d(u), nn.ReLU(), pdo.GroupPool(u)
    )


def test_networks_of_the_five_minute_start(tmp_path):
    scope = {}
    for block in START:
        if "net = " in block or "flow = " in block:
            exec(block, scope)
    x = torch.randn(1, 3, 17, 17)
    for name, inputs in (("net", x), ("flow", x[:, :2])):
        again = saved(scope[name], tmp_path)
        assert not again.training
        assert alike(scope[name], again, inputs)
        assert type(again) is type(scope[name])


SHORT = {
    "resnet-1001": {"units": 1},
    "sfcnn": {"widths": (2, 2, 2, 2, 2, 2), "hidden": (3, 3)},
    "e2cnn": {"widths": (2, 2, 2, 2, 2, 2)},
    "hexaconv-p6": {"widths": (2, 2, 2), "units": 1},
    "hexaconv-p6m": {"widths": (2, 2, 2), "units": 1},
    "pdo-wrn26-p8": {"widths": (2, 2, 2), "units": 1},
    "pdo-resnet26-p6": {"widths": (2, 2, 2), "units": 1},
    "pdo-resnet26-p6m": {"widths": (2, 2, 2), "units": 1},
    "wrn-28-10": {"widths": (2, 4, 4), "first": 2, "units": 1},
    "gcnn-resnet44-p4m": {"units": 1, "group": pdo.group("p4m"), "filters": filters.interpolated(disk=True)},
    "z2-resnet44": {"units": 1},
    "pdo-resnet44-p8": {"units": 1, "widths": [2, 3, 4], "layout": "symmetric", "filters": filters.family("gaussian")},
    "mnist_plain": {"channels": 3},
}


@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.parametrize("name", [*pdo.models.names(), "mnist_plain", "tnrd", "dncnn", "pde_restorer", "volume_small"])
def test_networks_by_name(name, tmp_path):
    make = getattr(pdo.models, name, None) or (lambda **config: pdo.models.create(name, **config))
    net = season(make(**SHORT.get(name, {}))).float()
    again = saved(net, tmp_path)
    assert "network" in document(tmp_path / "net.safetensors")["architecture"]
    shape = (
        (3, 32, 32)
        if name in COLOUR
        else {"volume_small": (1, 9, 9, 9), "orn8-align": (1, 32, 32)}.get(name, (1, 28, 28))
    )
    assert alike(net, again, torch.rand(1, *shape))


def test_every_function_that_makes_a_network_is_known():
    made = {name for name, f in vars(pdo.models).items() if callable(f) and not isinstance(f, type) and name[0] != "_"}
    assert made - {"card", "create", "load", "names", "pretrained"} == set(NETWORKS)


def test_network_changed_after_it_was_made(tmp_path):
    """The note of how it was made would lie: the file goes by the layers instead."""
    net = pdo.models.mnist_small(fields=1)
    net[3].p = 0.4
    again = saved(net, tmp_path)
    assert again[3].p == 0.4
    assert "parts" in document(tmp_path / "net.safetensors")["architecture"]
    other = pdo.models.create("pdo-resnet44-p8", units=1, widths=(2, 2, 2))
    other.classifier = nn.Linear(16, 3)
    pdo.save(other, tmp_path / "net.safetensors")
    assert document(tmp_path / "net.safetensors")["architecture"] == {"own": "pdoconv.models.resnet.PreActResNet"}


table = np.stack([np.kron(np.eye(2), m) for m in C8.matrices])
TREES = {
    "irreducible fields": lambda: (
        pdo.Sequential(
            pdo.PDOConv2d(SO2.trivial(1), (g := pdo.GatedActivation(SO2.trivial(2) + SO2.irrep(2, 1))).in_type),
            pdo.BatchNorm2d(g.in_type),
            g,
            pdo.NormActivation(g.out_type, "sigmoid", eps=1e-4),
            pdo.NormPool(g.out_type),
        ),
        (1, 1, 9, 9),
    ),
    "pseudo and quotient": lambda: (
        pdo.GroupConv2d(
            pdo.dihedral(4).quotient(C4, 2), pdo.dihedral(4).irrep(0, 1, pseudo=True), 3, filters=filters.paper(0.0)
        ),
        (1, 4, 9, 9),
    ),
    "own representation": lambda: (
        pdo.GroupConv2d(
            pdo.FieldType(C8, ((Representation(C8, "two", table), 2),)), C8.trivial(3), 5, filters=filters.harmonics()
        ),
        (1, 8, 9, 9),
    ),
    "restricted": lambda: (
        pdo.Sequential(
            pdo.GroupConv2d(pdo.dihedral(4).trivial(1), pdo.dihedral(4).regular(2), 3, filters=filters.rotated()),
            pdo.Restrict(pdo.dihedral(4).regular(2), C4),
            pdo.VectorOutput(C4.regular(4), 2),
        ),
        (1, 1, 7, 7),
    ),
    "space": lambda: (
        nn.Sequential(
            pdo.GroupConv3d(
                CUBE.trivial(1), CUBE.regular(1), 3, filters=filters.default(3, 3), stride=2, padding_mode="circular"
            ),
            pdo.AvgPool3d(CUBE.regular(1), 2),
            nn.Flatten(),
            nn.LazyLinear(2),
        ),
        (1, 1, 9, 9, 9),
    ),
    "pools": lambda: (
        pdo.Sequential(
            pdo.BlurPool2d(C4.regular(1), 2, sigma=0.7),
            pdo.FieldDropout(C4.regular(1), 0.3),
            pdo.MaxPool2d(C4.regular(1), 3, stride=1, padding=1),
            pdo.PointwiseActivation(C4.regular(1), nn.PReLU()),
        ),
        (1, 4, 17, 17),
    ),
    "named stack": lambda: (
        nn.Sequential(
            dict_of(
                first=nn.Conv2d(1, 2, 3, padding="same", bias=False),
                inner=nn.Sequential(nn.GELU("tanh"), nn.Identity(), nn.Sequential()),
            )
        ),
        (1, 1, 5, 5),
    ),
    "flow of a rate": lambda: (
        PDEBlock(nn.Sequential(pdo.PDOConv2d(C8.regular(1), C8.regular(1), padding=2), nn.Tanh()), steps=2),
        (1, 8, 9, 9),
    ),
    "harmonic": lambda: (
        pdo.nn.HarmonicConv2d(SO2.trivial(1), pdo.nn.harmonic_type(2), 5, phase=False, padding="same"),
        (1, 1, 9, 9),
    ),
    "domain": lambda: (pdo.nn.DomainBatchNorm2d(C4.regular(1), np.eye(3, dtype=bool), momentum=0.3), (1, 4, 3, 3)),
}


def dict_of(**parts):
    from collections import OrderedDict

    return OrderedDict(parts)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.filterwarnings("ignore:.*breaks the exact symmetry")
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_trees_of_layers(name, tmp_path):
    net, shape = TREES[name]()
    x = torch.randn(shape)
    net(x)
    net = season(net).float()
    again = saved(net, tmp_path)
    assert alike(net, again, x)
    assert str(again) == str(net).replace("LazyLinear", "Linear")


TORCH = [
    nn.Conv1d(4, 6, 3, 2, 1, 2, 2, False, "reflect"),
    nn.ConvTranspose2d(4, 2, 3, 2, 1, output_padding=1),
    nn.Conv3d(1, 1, (1, 2, 3)),
    nn.BatchNorm2d(3, 1e-3, None, affine=False),
    nn.BatchNorm1d(3, track_running_stats=False),
    nn.GroupNorm(2, 4, affine=False),
    nn.LayerNorm((3, 4), bias=False),
    nn.InstanceNorm2d(3, affine=True),
    nn.MaxPool2d(3, 2, (1, 0), ceil_mode=True),
    nn.AvgPool2d(2, count_include_pad=False),
    nn.AdaptiveAvgPool2d((None, 3)),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    nn.PixelShuffle(2),
    nn.Unflatten(1, (2, 2)),
    nn.Flatten(2),
    nn.LeakyReLU(0.3, inplace=True),
    nn.PReLU(3, 0.1),
    nn.Softmax(1),
    nn.Softplus(2, 10),
    nn.ELU(0.5),
    nn.LocalResponseNorm(3, 1e-3),
    nn.Dropout3d(0.1),
    nn.Linear(3, 4, bias=False),
]


@pytest.mark.parametrize("layer", TORCH, ids=str)
def test_layers_of_torch(layer):
    again = layers.build(json.loads(json.dumps(layers.describe(layer))))
    assert (type(again), str(again)) == (type(layer), str(layer))
    assert [v.shape for v in again.state_dict().values()] == [v.shape for v in layer.state_dict().values()]


def test_every_layer_that_a_file_may_name_only_computes():
    """Classes, no functions; none that reads files or calls what it is given."""
    for name, kind in layers.LAYERS.items():
        assert isinstance(kind, type), name
        assert issubclass(kind, nn.Module), name
        assert kind.__module__.startswith(("pdoconv.", "torch.nn.modules."))


VALUES = [
    *map(pdo.group, ("C1", "D6", "SO2", "O2", "Oh", "D2d", "m-3m")),
    pdo.cyclic(4, dim=3),
    pdo.reflection(),
    generate("tilted", [np.array([[0.6, 0.8], [0.8, -0.6]])]),
    *(filters.family(name) for name in filters.FAMILIES),
    filters.harmonics(),
    filters.HarmonicFilters((0.0, 1.5), (0.5, 0.6), (0, 2)),
    filters.fourier(),
    filters.hexagonal(),
    filters.pointwise(),
    filters.interpolated(ring=False, disk=True),
    filters.pdo(stencils=stencils.isotropic(smoothing=0.1), frame_offset=0.3, weights="operators"),
    filters.pdo(pdo.operators.rotation_closed(pdo.operators.paper_biharmonic()), stencils.finite_difference(4)),
    C8.trivial(2) + C8.regular(3) + C8.vector(1) + C8.irrep(3, 2) + C8.quotient(pdo.cyclic(2), 2),
    pdo.cyclic(1).regular(2),
    pdo.icosahedral().irrep(2, 3),
    (1, 2.5, None, True, "same", ()),
]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values(value):
    again = rebuilt(json.loads(json.dumps(described(value))))
    assert again == value
    assert type(again) is type(value)
    if isinstance(value, Group):
        assert (again.name, again.dim) == (value.name, value.dim)


class Own(nn.Module):
    """A user's class."""

    def __init__(self, width=4):
        super().__init__()
        self.conv = pdo.PDOConv2d(C4.trivial(1), C4.regular(width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("kept", torch.arange(3), persistent=True)

    def forward(self, x):
        return self.conv(x) * self.scale


def test_own_class_holds_weights_for_a_network_that_the_caller_makes(tmp_path):
    net, path = Own(), tmp_path / "own.safetensors"
    net.scale.fill_(2.5)
    pdo.save(net, path)
    with pytest.raises(ValueError, match=r"holds the weights of 'test_files.Own'.*load\(path, model=net\)"):
        pdo.load(path)
    other = Own()
    other.train()
    assert pdo.load(path, model=other) is other
    assert other.training
    assert alike(net, other, torch.randn(1, 1, 9, 9))


def test_given_model_is_filled_in_place_for_every_kind(tmp_path):
    net, path = small(), tmp_path / "net.safetensors"
    pdo.save(net, path)
    other = small()
    parameter = other[0].weight
    pdo.load(path, model=other)
    assert other[0].weight is parameter
    assert alike(net, other, torch.randn(1, 1, 9, 9))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_are_kept(dtype, tmp_path):
    net = small().to(dtype).eval()
    again = saved(net, tmp_path)
    assert again[0].weight.dtype == again[1].running_mean.dtype == dtype
    assert alike(net, again, torch.randn(1, 1, 9, 9, dtype=dtype))
    assert torch.equal(again[0].basis, net[0].basis)
    with pytest.raises(ValueError, match=r"'0.weight' is .* the network's torch.float32: convert it with net.to\(\)"):
        pdo.load(tmp_path / "net.safetensors", model=small())


def test_mixed_dtypes_and_whole_numbers(tmp_path):
    net = nn.Sequential(nn.Linear(2, 3).double(), nn.BatchNorm1d(3))
    net[1].num_batches_tracked += 7
    again = saved(net, tmp_path)
    assert [v.dtype for v in again.state_dict().values()] == [v.dtype for v in net.state_dict().values()]
    assert again[1].num_batches_tracked == 7


def test_memory_layout_does_not_matter(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 4)).to(memory_format=torch.channels_last)
    net[1].weight = nn.Parameter(torch.randn(4, 4).t())
    assert not net[0].weight.is_contiguous()
    assert not net[1].weight.is_contiguous()
    again = saved(net, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(value, net.state_dict()[k]) for k, value in load_file(tmp_path / "net.safetensors").items())


def test_tied_weights_stay_tied(tmp_path):
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    again = saved(net, tmp_path)
    assert again[2].weight is again[0].weight
    assert again[2].bias is not again[0].bias
    assert alike(net, again, torch.randn(2, 3))
    assert "2.weight" not in load_file(tmp_path / "net.safetensors")
    same = nn.Sequential(layer := nn.Linear(3, 3), nn.ReLU(), layer)
    again = saved(same, tmp_path)
    assert again[0] is again[2]
    assert alike(same, again, torch.randn(2, 3))
    apart = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))  # two in the file, one in the network
    pdo.save(apart, tmp_path / "apart.safetensors")
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="are one in the network, but differ in the file"):
        pdo.load(tmp_path / "apart.safetensors", model=net)
    assert all(torch.equal(net.state_dict()[key], before[key]) for key in before)


def test_file_is_one_of_safetensors(tmp_path):
    """Read by the library, and written by it as far as it goes."""
    net, path = season(small()).float(), tmp_path / "net.safetensors"
    pdo.save(net, path, about={"title": "λ"})
    theirs = load_file(path)
    assert all(torch.equal(theirs[key], value) for key, value in net.state_dict().items())
    assert document(path)["about"] == {"title": "λ"}
    assert read(path).about == {"title": "λ"}
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(theirs, tmp_path / "theirs.safetensors", metadata)
    assert alike(net, pdo.load(tmp_path / "theirs.safetensors"), torch.randn(1, 1, 9, 9))


def test_synchronised_and_hooked_layers(tmp_path):
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    again = saved(pdo.nn.synchronise(copy.deepcopy(net)), tmp_path)
    assert type(again[1]) is nn.BatchNorm2d
    net[0].register_forward_hook(lambda *_: None)
    pdo.save(net, tmp_path / "net.safetensors")
    assert document(tmp_path / "net.safetensors")["architecture"] == {"own": "torch.nn.modules.container.Sequential"}
    with pytest.raises(ValueError, match="whose code no file can hold"):
        pdo.load(tmp_path / "net.safetensors")


def test_copies_keep_the_note(tmp_path):
    net = pdo.models.create("p4cnn", fields=2)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), net.double()):
        saved(again, tmp_path)
        assert document(tmp_path / "net.safetensors")["architecture"]["network"] == "p4cnn"


def test_random_numbers_are_left_alone(tmp_path):
    net, before = small(), torch.get_rng_state()
    saved(net, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_permissions_follow_the_mask(tmp_path):
    path = tmp_path / "net.safetensors"
    for mask, expected in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            pdo.save(small(), path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == expected
    assert [file.name for file in tmp_path.iterdir()] == ["net.safetensors"]


def test_saving_needs_torch_and_numpy_alone(tmp_path):
    code = (
        "import sys\nsys.modules['safetensors'] = None\nimport pdoconv as pdo\n"
        "net = pdo.models.create('p4cnn', fields=1)\npdo.save(net, 'a/net.safetensors')\n"
        "pdo.load('a/net.safetensors')\npdo.models.load('mnist-rot-small')\n"
        "print('torch._dynamo' in sys.modules, 'huggingface_hub' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout == "False False\n"


def test_file_of_an_older_version():
    """Runs of 0.1.0 wrote no document: the weights can still be used, with the network of the recipe."""
    old = ORACLES / "run_of_0_1_0.safetensors"
    with pytest.raises(ValueError, match=r"the network of recipe mnist-rot-small.*RunFolder\.load_model makes it"):
        pdo.load(old)
    net = MnistRotSmall(filters="gaussian", fields=1).network()
    found = read(old, net)
    assert found.about["mean"] == [33.3]
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in load_file(old).items())
    with pytest.raises(ValueError, match="it was made with filters"):
        pdo.load(old, model=MnistRotSmall(filters="band-limited", fields=1).network())


def test_run_of_an_older_version(tmp_path):
    settings, folder = MnistRotSmall(filters="gaussian", fields=1), RunFolder(tmp_path)
    with folder.started("mnist-rot-small", settings, resume=False):
        folder.model.write_bytes((ORACLES / "run_of_0_1_0.safetensors").read_bytes())
    net, mean, std = folder.load_model()
    assert (mean.item(), std.item()) == (33.3, 74.0)
    folder.result.write_text('{"test_error_percent": 50}')
    folder.publish(tmp_path / "new.safetensors")
    published = pdo.load(tmp_path / "new.safetensors")
    x = torch.randint(0, 256, (2, 1, 28, 28)).float()
    with torch.no_grad():
        assert torch.allclose(published(x / 255), net((x - 33.3) / 74.0), atol=1e-5)
    with pytest.raises(FileExistsError, match="is not overwritten"):
        folder.publish(tmp_path / "new.safetensors")
    with pytest.raises(ValueError, match="white must be above 0"):
        folder.publish(tmp_path / "other.safetensors", white=0)
    folder.result.unlink()
    with pytest.raises(FileNotFoundError, match="has no result yet"):
        folder.publish(tmp_path / "other.safetensors")


def test_layers_that_are_pixels_as_floats():
    layer = pdo.models.Normalise([0.5, 0.1], [0.2, 0.4])
    assert torch.allclose(layer(torch.ones(1, 2, 1))[0, :, 0], torch.tensor([2.5, 2.25]))
    with pytest.raises(ValueError, match=r"floats in \[0, 1\], received torch.uint8: use x.float\(\) / 255"):
        layer(torch.zeros(1, 2, 1, dtype=torch.uint8))
    for mean, std in (([0.5], [0.0]), ([0.5], [0.1, 0.1]), ([float("nan")], [1.0]), ([], [])):
        with pytest.raises(ValueError, match="as many finite means as deviations above 0"):
            pdo.models.Normalise(mean, std)
