"""What `pdoconv.load` refuses: with a message, nothing executed, nothing overwritten, no memory taken."""

import copy
import json
import os
import pickle
import re
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import file_size_limit
from torch import nn

import pdoconv as pdo
from pdoconv import pde
from pdoconv.files import layers
from pdoconv.files.document import KEY, MIGRATIONS, VERSION
from pdoconv.files.sizes import at_most

C4 = pdo.cyclic(4)


def network():
    u = C4.regular(2)
    return pdo.Sequential(pdo.PDOConv2d(C4.trivial(1), u, 3), pdo.BatchNorm2d(u), pdo.GroupPool(u), nn.Flatten())


def taken_apart(path):
    """Header and body of a file."""
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def put_together(path, header, body):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


@contextmanager
def little_memory(more=2**28):
    """No more than so many bytes above what the process has: who takes more is told so by the system."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    pdo.save(network(), path)
    return path


def refused(path, message):
    """Alone and into a network: refused with that message, and the network is as it was, bit for bit."""
    net = network()
    before, files = copy.deepcopy(net.state_dict()), sorted(path.parent.rglob("*"))
    with little_memory():
        for model in (None, net):
            with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
                pdo.load(path, model=model)
            assert path.name in str(caught.value)
            assert len(str(caught.value)) < 2000
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert sorted(path.parent.rglob("*")) == files
    return caught


class Payload:
    """A pickle that leaves a file behind when it is loaded."""

    def __init__(self, folder):
        self.mark = folder / "executed"

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("writer", ["pickle", "old pickle", "torch"])
def test_pickle_under_another_name(writer, path, tmp_path):
    payload = Payload(tmp_path)
    if writer == "torch":
        torch.save({"weight": payload}, path)
    else:
        path.write_bytes(pickle.dumps(payload, protocol=0 if writer == "old pickle" else 4))
    refused(path, "safetensors file")
    assert not payload.mark.exists()
    if writer != "torch":  # the control: it would have
        pickle.loads(path.read_bytes())
        assert payload.mark.exists()


def test_no_file_at_all(path, tmp_path):
    refused(tmp_path / "nowhere.safetensors", "There is no file .*nowhere")
    refused(tmp_path, "it is a folder")
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path / ("b" if name == "a" else "a"))
    refused(tmp_path / "a", "was not used: .*symbolic links")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "it is no regular file")
    refused(path / "below", "was not used: .*Not a directory")
    path.write_bytes(b"")
    refused(path, "0 bytes are no safetensors file: it is empty or truncated")


def test_header_as_long_as_a_pickle_begins(tmp_path):
    """80 02 is the first byte of pickles, and a header of 640 bytes."""
    path = tmp_path / "net.safetensors"
    pdo.save(nn.Identity(), path, about={"x": ""})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    pdo.save(nn.Identity(), path, about={"x": "y" * (0x280 - length)})
    assert path.read_bytes()[:2] == b"\x80\x02"
    assert isinstance(pdo.load(path), nn.Identity)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, -1])
def test_truncated(share, path):
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)] if share > 0 else whole[:-1])
    refused(path, "truncated")


def test_more_than_it_says(path):
    path.write_bytes(path.read_bytes() + b"\0")
    refused(path, "truncated, or has more in it")


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**40, 10**6])
def test_absurd_length_of_the_header(length, path):
    path.write_bytes(length.to_bytes(8, "little") + path.read_bytes()[8:])
    refused(path, "a header of [0-9]+ bytes in a file of")


def test_long_header_that_is_there(path):
    with path.open("wb") as file:
        file.write((2**24).to_bytes(8, "little"))
        file.truncate(2**25)
    refused(path, "a header of 16777216 bytes in a file of 33554432: expected at most")
    with path.open("wb") as file:
        file.truncate(2**40)  # a terabyte of holes
    refused(path, "in a file of 1099511627776: expected at most")


def change(path, edit):
    header, body = taken_apart(path)
    edit(header)
    put_together(path, header, body)


def weight(header):
    return header["0.weight"]


HEADERS = {
    "a terabyte": (lambda h: weight(h).update(shape=[2**38]), "bytes, other than its offsets"),
    "terabytes, and offsets": (
        lambda h: weight(h).update(shape=[2**38], data_offsets=[0, 2**40]),
        "begins at byte|end at byte",
    ),
    "product that overflows": (
        lambda h: weight(h).update(shape=[2**47, 2**47, 2**47]),
        "bytes, other than its offsets",
    ),
    "too large a side": (lambda h: weight(h).update(shape=[2**63]), "expected shape and two offsets"),
    "negative side": (lambda h: weight(h).update(shape=[-1, -8]), "expected shape and two offsets"),
    "fraction of a side": (lambda h: weight(h).update(shape=[8.0]), "expected shape and two offsets"),
    "true for a side": (lambda h: weight(h).update(shape=[True]), "expected shape and two offsets"),
    "no list": (lambda h: weight(h).update(shape="22"), "expected shape and two offsets"),
    "many axes": (lambda h: weight(h).update(shape=[1] * 1000), "expected shape and two offsets"),
    "overlap": (
        lambda h: h["1.weight"].update(data_offsets=weight(h)["data_offsets"]),
        "other than its offsets|overlap",
    ),
    "out of range": (lambda h: h["1.weight"].update(data_offsets=[10**9, 10**9 + 8]), "overlap or gape"),
    "backwards": (lambda h: weight(h).update(data_offsets=weight(h)["data_offsets"][::-1]), "other than its offsets"),
    "unknown dtype": (lambda h: weight(h).update(dtype="F8_E4M3"), "expected a dtype of F64"),
    "dtype that is none": (lambda h: weight(h).update(dtype=["F32"]), "expected a dtype of F64"),
    "more keys": (lambda h: weight(h).update(code="import os"), "expected dtype, shape and data_offsets"),
    "no object": (lambda h: h.update({"0.weight": 3}), "expected dtype, shape and data_offsets"),
    "metadata of numbers": (lambda h: h["__metadata__"].update(pdoconv=3), "no JSON object of strings"),
    "metadata that is a list": (lambda h: h.update(__metadata__=[]), "no JSON object of strings"),
    "no metadata": (lambda h: h.pop("__metadata__"), "no document of pdoconv.save"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_header(name, path):
    edit, message = HEADERS[name]
    change(path, edit)
    refused(path, message)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\boot.ini",
        "..",
        "0..weight",
        "",
        "a\0b",
        "a\nb",
        "\u202e0.weight",
        "\ud800",
        "x" * 501,
    ],
)
def test_names_of_tensors(name, path):
    change(path, lambda h: h.update({name: h.pop("0.weight")}))
    refused(path, "a tensor's name is '.*expected at most 500 printable characters without slashes")


@pytest.mark.parametrize("name", ["0.w\u0435ight", "0.Weight", "0.weight ", "__class__", "0.__dict__", "forward"])
def test_names_that_the_network_does_not_have(name, path):
    change(path, lambda h: h.update({name: h.pop("0.weight")}))
    refused(path, r"it lacks 1 tensors of this one \(\['0.weight'\]\), and has 1 others")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"[" * 10**5, "its header is not JSON"),
        (b'{"a":' * 10**5, "its header is not JSON"),
        (b'{"a": 1, "a": 1}', "a key stands twice"),
        (b'{"a": ' + b"9" * 10**5 + b"}", "its header is not JSON"),
        (b'{"a": NaN}', "is not finite"),
        (b'{"a": 1e999}', "is not finite"),
        (b'{"a": "\xff"}', "its header is not JSON"),
        (b"[]", "its header is no JSON object but list"),
        (b"null", "its header is no JSON object but NoneType"),
        (b"{} {}", "its header is not JSON"),
        (b"", "its header is not JSON"),
    ],
)
def test_header_that_is_a_bomb(header, message, path):
    put_together(path, header, b"")
    refused(path, message)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(value, path, tmp_path):
    header, body = taken_apart(path)
    place = header["1.running_var"]["data_offsets"][0]
    put_together(path, header, body[:place] + np.float32(value).tobytes() + body[place + 4 :])
    refused(path, "tensor '1.running_var' has numbers that are not finite")
    net = network()
    net[1].running_var[0] = value
    with pytest.raises(ValueError, match=r"save: tensor '1.running_var' has numbers that are not finite: nothing"):
        pdo.save(net, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_truth_values_that_are_neither(tmp_path):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mask", torch.tensor([True, False]))

    path = tmp_path / "net.safetensors"
    pdo.save(Masked(), path)
    assert pdo.load(path, model=Masked()).mask.tolist() == [True, False]
    path.write_bytes(path.read_bytes()[:-1] + b"\x07")
    with pytest.raises(ValueError, match="neither true nor false"):
        pdo.load(path, model=Masked())


def edit_document(path, edit):
    header, body = taken_apart(path)
    document = json.loads(header["__metadata__"][KEY])
    edit(document)
    header["__metadata__"][KEY] = json.dumps(document)
    put_together(path, header, body)


def layer(document, number=0):
    return document["architecture"]["parts"][str(number)]["arguments"]


def fields(document, number):
    """As many fields in the layer as out of it, in the whole network."""
    for part in document["architecture"]["parts"].values():
        for key, value in part.get("arguments", {}).items():
            if key in ("in_type", "out_type") and value["blocks"][0][0] == "regular":
                value["blocks"][0][1] = number


def own_group(order):
    turns = [[[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]] for t in 2 * np.pi * np.arange(order) / order]
    return {"name": "large", "matrices": np.array(turns).tolist(), "continuous": False}


DOCUMENTS = {
    "unknown class": (lambda d: d["architecture"].update(layer="os.system"), "a layer of the name 'os.system'"),
    "class that is no layer": (
        lambda d: d["architecture"].update(layer="torch.nn.Module"),
        "which this version of pdoconv",
    ),
    "unknown network": (
        lambda d: d.update(architecture={"network": "eval", "arguments": {}}),
        "a network of the name 'eval'",
    ),
    "list for a name": (lambda d: d["architecture"].update(layer=["Sequential"]), "which this version of pdoconv"),
    "unknown filters": (
        lambda d: layer(d)["filters"].update({"is": "Exec"}),
        "expected one of Group.* received 'Exec'",
    ),
    "unknown group": (lambda d: layer(d)["in_type"].update(group={"name": "X9", "dim": 2}), "Unknown group 'X9'"),
    "unknown field": (lambda d: layer(d)["in_type"].update(blocks=[["magic", 1]]), "expected a kind of field"),
    "unknown argument": (lambda d: layer(d).update(hook="x"), r"unknown arguments \['hook'\]"),
    "device": (lambda d: layer(d).update(device="cuda:7"), r"unknown arguments \['device'\]"),
    "too many fields": (lambda d: fields(d, 10**9), "above 1048576"),
    "many fields": (lambda d: fields(d, 10**6), "has 4000000 channels, expected at most"),
    "more than the file": (lambda d: fields(d, 4000), "lacks|has shape|more numbers than the file"),
    "large kernel": (lambda d: layer(d).update(kernel_size=10**6 + 1), "kernel_size=1e.06, expected at most 31"),
    "large group": (lambda d: layer(d)["in_type"].update(group={"name": "C100000000", "dim": 2}), "numbers up to 128"),
    "group of twice as many": (
        lambda d: layer(d)["in_type"].update(group={"name": "D128", "dim": 2}),
        "a group of 256 elements, expected at most 128",
    ),
    "large basis": (
        lambda d: layer(d).update(kernel_size=31, filters={"is": "FourierFilters"}),
        "a basis of 3.0e.07 numbers, expected at most 2e.06",
    ),
    "large own group": (lambda d: layer(d)["in_type"].update(group=own_group(300)), "at most 128 matrices"),
    "group that is none": (
        lambda d: layer(d)["in_type"].update(group={"name": "g", "matrices": [[[2.0]]], "continuous": False}),
        "every matrix must be orthogonal",
    ),
    "high order": (
        lambda d: layer(d)["filters"].update(operators=[{"is": "Operator", "terms": [[[10**5, 0], 1.0]]}]),
        "too many monomials",
    ),
    "absurd padding": (lambda d: layer(d).update(padding=10**18), "above 1048576"),
    "NaN in an argument": (lambda d: layer(d, 1).update(eps=float("nan")), "is not finite"),
    "text for a number": (lambda d: layer(d).update(stride="2; import os"), "stride must be one whole number"),
    "object for a number": (lambda d: layer(d).update(stride={"is": "Group"}), "expected the name of a group"),
    "itself within itself": (
        lambda d: d["architecture"]["parts"].update({"0": {"same": 0}}),
        "the same layer as number 0, of 0 before it",
    ),
    "thousands of layers": (
        lambda d: d["architecture"]["parts"].update(
            {f"x{i}": {"layer": "torch.nn.Identity", "arguments": {}} for i in range(3000)}
        ),
        "more modules than the file",
    ),
    "endless network": (
        lambda d: d.update(architecture={"network": "resnet_1001", "arguments": {"units": 10**6}}),
        "than the file: above",
    ),
    "endless widths": (
        lambda d: d.update(architecture={"network": "resnet_1001", "arguments": {"widths": [1] * 1000}}),
        "widths has 1000 entries, expected at most 256",
    ),
    "newer version": (lambda d: d.update(version=VERSION + 1), "has version 2, this pdoconv knows 1: update pdoconv"),
    "no version": (lambda d: d.pop("version"), "its version is None"),
    "true for a version": (lambda d: d.update(version=True), "its version is True"),
    "another format": (lambda d: d.update(format="other"), "no object with format 'pdoconv model'"),
    "more keys": (lambda d: d.update(code="x"), "its document has .*'code'"),
    "architecture of another kind": (lambda d: d.update(architecture=[]), r"its architecture is \[\], which"),
    "other filters": (lambda d: d.update(filters=["0" * 16]), "it was made with filters '0{16}', this network has"),
    "ties to nowhere": (lambda d: d.update(tied={"9.weight": "0.weight"}), "it lacks 0 tensors .* has 1 others"),
    "ties of what is there": (lambda d: d.update(tied={"0.weight": "0.weight"}), "of another network"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document(name, path):
    edit, message = DOCUMENTS[name]
    edit_document(path, edit)
    with little_memory(), pytest.raises(ValueError, match=message):
        pdo.load(path)


@pytest.mark.parametrize("depth", [250, 2000])
def test_document_nested_deeply(depth, path):
    header, body = taken_apart(path)
    document = json.loads(header["__metadata__"][KEY]) | {"architecture": "deep"}
    inside = '{"layer":"torch.nn.Sequential","parts":{"0":' * depth + "{}" + "}}" * depth
    header["__metadata__"][KEY] = json.dumps(document).replace('"deep"', inside)
    put_together(path, header, body)
    with pytest.raises(ValueError, match=r"its document is not JSON|its architecture cannot be made"):
        pdo.load(path)


def test_control_documents_that_are_right(path):
    """The same tools, used for nothing wrong: such files are taken."""
    edit_document(path, lambda d: d.update(about={"x": 1}))
    edit_document(path, lambda d: layer(d, 1).update(eps=1e-3))
    assert pdo.load(path)[1].eps == 1e-3
    edit_document(
        path,
        lambda d: d["architecture"]["parts"].update(
            {f"x{i}": {"layer": "torch.nn.Identity", "arguments": {}} for i in range(20)}
        ),
    )
    assert len(pdo.load(path)) == 24


def test_every_version_has_a_way_to_today():
    assert sorted(MIGRATIONS) == list(range(VERSION))


def test_other_network(path, tmp_path):
    u = C4.regular(3)
    net = nn.Sequential(pdo.PDOConv2d(C4.trivial(1), u, 3), pdo.BatchNorm2d(u))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"tensor '0.weight' has shape \(2, 1, 1, 6\), expected \(3, 1, 1, 6\)"):
        pdo.load(path, model=net)
    with pytest.raises(ValueError, match=r"it lacks 0 tensors of this one .*, and has 5 others"):
        pdo.load(path, model=net[:1].append(nn.ReLU()))
    wrong = pdo.Sequential(
        pdo.PDOConv2d(
            C4.trivial(1),
            C4.regular(2),
            3,
            filters=pdo.filters.pdo(pdo.operators.rotation_adapted(2, 2), pdo.stencils.finite_difference()),
        ),
        *network()[1:],
    )
    with pytest.raises(ValueError, match=r"it was made with filters .*, this network has .*the group and the filters"):
        pdo.load(path, model=wrong)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_network_that_fails_while_it_is_filled_is_as_before(path):
    class Fails(nn.Sequential):
        def load_state_dict(self, state, **kwargs):
            super().load_state_dict(state, **kwargs)
            raise RuntimeError("no")

    net = Fails(*network())
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match="the network refused the tensors: no"):
        pdo.load(path, model=net)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not torch.equal(before["0.weight"], pdo.load(path).state_dict()["0.weight"])  # the control


def test_models_that_cannot_be_saved_or_filled(path, tmp_path):
    out = tmp_path / "out.safetensors"
    for model, message in (
        (nn.LazyLinear(2), "weight has no numbers yet: call the network once"),
        (nn.Linear(2, 2, device="meta"), "weight has no numbers yet"),
        (
            nn.Linear(2, 2, dtype=torch.complex64),
            "expected a dtype of F64.*received torch.complex64: nothing was written",
        ),
        (network().state_dict(), "expected an nn.Module, received OrderedDict"),
        (nn.ModuleDict({"a/b": nn.Linear(1, 1)}), "a tensor's name is 'a/b.weight'"),
    ):
        with pytest.raises(ValueError, match=message):
            pdo.save(model, out)
    for about, message in (
        ([], "about must be a dict"),
        ({"x": {1}}, "about holds what JSON cannot"),
        ({"x": float("nan")}, "JSON"),
    ):
        with pytest.raises(ValueError, match=message):
            pdo.save(network(), out, about=about)
    assert not out.exists()
    empty = network().to("meta")
    with pytest.raises(ValueError, match=r"0.weight of the network has no memory yet: call the network once"):
        pdo.load(path, model=empty)
    with pytest.raises(ValueError, match=r"expected an nn.Module to fill, received OrderedDict"):
        pdo.load(path, model=network().state_dict())


def test_full_disk_leaves_what_was_there(path):
    before = path.read_bytes()
    with file_size_limit(300), pytest.raises(OSError, match=r"could not be written .*File too large.*intact"):
        pdo.save(nn.Linear(100, 100), path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_bounds_count_in_this_thread_alone_and_end():
    with pytest.raises(ValueError, match="more numbers than the file"), at_most(1, 1):
        nn.Linear(4200, 4200)
    assert nn.Linear(4200, 4200).weight.shape == (4200, 4200)


def test_large_layers_take_no_memory_before_they_are_counted():
    """The control of `little_memory`: without the count the same layer takes it."""
    with little_memory(2**27):
        with pytest.raises(ValueError, match="more numbers than the file"), at_most(1, 1):
            layers.build({"layer": "torch.nn.Linear", "arguments": {"in_features": 5000, "out_features": 5000}})
        with pytest.raises((RuntimeError, MemoryError)):
            nn.Linear(2**13, 2**13)


def test_equations_of_a_stranger(tmp_path):
    """Files of learned PDEs: what is no JSON object, and folders in the place of a file."""
    for content in (b"", b"[" * 10**5, b"\x80\x04.", b'{"pdoconv_pde": 1e999}'):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(ValueError, match=re.escape("a.json was not used")):
            pde.files.load(tmp_path / "a.json")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        pde.files.load(tmp_path)


def test_converted_network_of_another_group(tmp_path):
    """C8 and D4 are of one order: only the fingerprints tell."""
    cnn = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    example = torch.zeros(1, 1, 9, 9)
    pdo.save(pdo.convert(cnn, "p8", example=example), tmp_path / "twin.safetensors")
    with pytest.raises(ValueError, match=r"it was made with filters .*the group and the filters"):
        pdo.load(tmp_path / "twin.safetensors", model=pdo.convert(cnn, "D4", example=example))
    pdo.load(tmp_path / "twin.safetensors", model=pdo.convert(cnn, "p8", example=example))
