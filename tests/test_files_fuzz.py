"""Files of chance: each is read right, or refused with a message of ours. Never another error, never a hang."""

import copy
import json
import warnings
from dataclasses import asdict

import pytest
import torch
from conftest import ORACLES
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

import pdoconv as pdo
from pdoconv import pde
from pdoconv.files.document import KEY
from pdoconv.pde import files as equations
from pdoconv.recipes import RECIPES, MnistRotSmall
from pdoconv.training.folder import RunFolder

OURS = ("was not used", "There is no file", "is damaged or of another network", "cannot be understood")
QUICK = settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
C4 = pdo.cyclic(4)
RANDOM = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([2**31, 2**63, 10**30, -(2**63), 1e308, 0.5, -1.0, 10**6, 10**4, 300, 64, 31]),
    st.text(max_size=6),
    st.sampled_from(
        ["Sequential", "torch.nn.Linear", "regular", "C8", "D4", "SO2", "C128", "Oh", "Group", "PDOFilters"]
    ),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-1, 5), max_size=4),
    st.just({"same": 0}),
    st.just({"name": "D4", "dim": 2}),
    st.just({"irrep": 1, "pseudo": True}),
    st.just({"is": "RotatedFilters"}),
    st.just({"is": "FieldType", "group": {"name": "C4", "dim": 2}, "blocks": [["regular", 2]]}),
)


def network():
    torch.manual_seed(1)
    u = C4.regular(2)
    parts = [pdo.PDOConv2d(C4.trivial(1), u, 3), pdo.BatchNorm2d(u), pdo.PointwiseActivation(u, nn.ELU())]
    parts += [pdo.GroupConv2d(u, C4.irrep(1), 3, filters=pdo.filters.rotated())]
    return nn.Sequential(
        *parts, pdo.BlurPool2d(C4.irrep(1)), nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(4, 2)
    )


def parts_of(whole):
    length = int.from_bytes(whole[:8], "little")
    return json.loads(whole[8 : 8 + length]), whole[8 + length :]


def joined(header, body):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def places(value, way=()):
    """Every place in a JSON document."""
    yield way
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*way, key))


@st.composite
def changed(draw, document, most=3):
    """A document with values replaced, removed, doubled or moved."""
    found = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, most))):
        ways = [way for way in places(found) if way]
        if not ways:
            break
        *outer, key = ways[draw(st.integers(0, len(ways) - 1))]
        inner = found
        for step in outer:
            inner = inner[step]
        what = draw(st.sampled_from(["replace", "number", "remove", "copy", "rename"]))
        if what == "number" and type(inner[key]) in (int, float):
            inner[key] = draw(st.sampled_from([inner[key] + 1, -inner[key], 2 * inner[key], 1000 * inner[key], 0]))
        elif what == "remove":
            del inner[key]
        elif what == "copy":
            other = ways[draw(st.integers(0, len(ways) - 1))]
            source = found
            try:
                for step in other:
                    source = source[step]
            except (KeyError, IndexError, TypeError):
                continue
            inner[key] = copy.deepcopy(source)
        elif what == "rename" and isinstance(inner, dict):
            inner[draw(st.text(max_size=5))] = inner.pop(key)
        else:
            inner[key] = copy.deepcopy(draw(RANDOM))
    return found


@st.composite
def damaged(draw, whole):
    """Bytes with some changed, put in, cut out or swapped."""
    found = bytearray(whole)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(found) - 1)))
        what = draw(st.sampled_from(["byte", "bit", "cut", "insert", "end", "head"]))
        if what == "byte" and found:
            found[place] = draw(st.integers(0, 255))
        elif what == "bit" and found:
            found[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "cut":
            del found[place : place + draw(st.integers(1, 40))]
        elif what == "insert":
            found[place:place] = draw(st.binary(min_size=1, max_size=9))
        elif what == "end":
            del found[place:]
        elif what == "head":
            found[: min(8, len(found))] = draw(st.binary(min_size=8, max_size=8))
    return bytes(found)


def check(load, path):
    """Read right: finite numbers, so none is made up; or refused by us, with the file's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, on strange arguments
        try:
            net = load()
        except (ValueError, FileNotFoundError) as error:
            said = error
        else:
            said = None
    if said is not None:
        assert type(said) in (ValueError, FileNotFoundError)
        assert any(words in str(said) for words in OURS), said
        assert path.name in str(said) or path.parent.name in str(said)
        assert len(str(said)) < 3000
        return None
    assert all(torch.isfinite(v).all() for v in net.state_dict().values() if v.is_floating_point())
    return net


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def whole(folder):
    pdo.save(network(), folder / "whole.safetensors", about={"title": "x"})
    return (folder / "whole.safetensors").read_bytes()


def bytes_of_chance(data, folder, whole):
    path = folder / "net.safetensors"
    path.write_bytes(data.draw(damaged(whole)))
    check(lambda: pdo.load(path), path)
    net = network()
    before = copy.deepcopy(net.state_dict())
    if check(lambda: pdo.load(path, model=net), path) is None:
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def documents_of_chance(data, folder, whole):
    path, (header, body) = folder / "net.safetensors", parts_of(whole)
    document = json.loads(header["__metadata__"][KEY])
    header["__metadata__"][KEY] = json.dumps(data.draw(changed(document)))
    path.write_bytes(joined(header, body))
    net = check(lambda: pdo.load(path), path)
    if net is not None:  # what was loaded can be saved, and is the same again
        pdo.save(net, path)
        again = pdo.load(path)
        assert all(
            torch.equal(a, b) for a, b in zip(net.state_dict().values(), again.state_dict().values(), strict=True)
        )


def headers_of_chance(data, folder, whole):
    path, (header, body) = folder / "net.safetensors", parts_of(whole)
    path.write_bytes(joined(data.draw(changed(header)), body))
    check(lambda: pdo.load(path), path)


def networks_of_chance(data, folder, whole):
    """Arguments of the functions that make networks."""
    path, (header, body) = folder / "net.safetensors", parts_of(whole)
    name = data.draw(
        st.sampled_from(
            ["p4cnn", "mnist_small", "hexaconv_p6", "ptn", "neural_ode", "hnet", "tnrd", "sfcnn", "orn8_align"]
        )
    )
    known = [
        "fields",
        "widths",
        "group",
        "filters",
        "kernel_size",
        "classes",
        "size",
        "radius",
        "units",
        "steps",
        "width",
        "hidden",
        "rings",
    ]
    given = data.draw(st.dictionaries(st.sampled_from(known), RANDOM, max_size=3))
    document = json.loads(header["__metadata__"][KEY]) | {"architecture": {"network": name, "arguments": given}}
    header["__metadata__"][KEY] = json.dumps(document)
    path.write_bytes(joined(header, body))
    assert check(lambda: pdo.load(path), path) is None  # its tensors are of another network


def equations_of_chance(data, folder, whole):
    path, content = folder / "equation.json", (equations.FOLDER / "denoise.json").read_bytes()
    if data.draw(st.booleans()):
        path.write_bytes(data.draw(damaged(content)))
    else:
        document = json.loads(content)
        document["numbers"] = (
            {key: value[:1] for key, value in document["numbers"].items()}
            if data.draw(st.booleans())
            else document["numbers"]
        )
        path.write_text(json.dumps(data.draw(changed(document))))
    check(lambda: pde.files.load(path), path)


def runs_of_chance(data, folder, whole):
    run = RunFolder(folder / "run")
    run.path.mkdir(exist_ok=True)
    settings = MnistRotSmall(filters="gaussian", fields=1)
    content = {"recipe": "mnist-rot-small", "settings": asdict(settings), "depends": None, "started": {}}
    if data.draw(st.booleans()):
        name = data.draw(st.sampled_from(sorted(RECIPES)))
        content = {"recipe": name, "settings": asdict(settings) if name.startswith("mnist-rot-s") else {}}
        content["settings"] |= data.draw(
            st.dictionaries(
                st.sampled_from(
                    [
                        "group",
                        "filters",
                        "fields",
                        "widths",
                        "units",
                        "kernel_size",
                        "head",
                        "network_name",
                        "system",
                        "size",
                        "names",
                    ]
                ),
                RANDOM,
                max_size=3,
            )
        )
    text, model = (
        json.dumps(data.draw(changed(content)) if data.draw(st.booleans()) else content).encode(),
        (ORACLES / "run_of_0_1_0.safetensors").read_bytes(),
    )
    run.config.write_bytes(data.draw(damaged(text)) if data.draw(st.integers(0, 3)) == 0 else text)
    run.model.write_bytes(data.draw(damaged(model)) if data.draw(st.booleans()) else model)
    check(lambda: [run.read_config(), nn.Identity()][1], run.config)
    check(lambda: run.load_model()[0], run.model)


WAYS = (
    bytes_of_chance,
    documents_of_chance,
    headers_of_chance,
    networks_of_chance,
    equations_of_chance,
    runs_of_chance,
)


@pytest.mark.parametrize("way", WAYS)
def test_some(way, folder, whole):
    QUICK(given(st.data())(lambda data: way(data, folder, whole)))()


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_many(way, folder, whole):
    LONG(given(st.data())(lambda data: way(data, folder, whole)))()


def test_control_a_reader_that_lets_errors_through_is_found(folder, whole, monkeypatch):
    """The same examples, with a check taken out: the fuzz sees it."""
    monkeypatch.setattr("pdoconv.files.tensors._are_sizes", lambda found: True)
    unshrunk = settings(QUICK, phases=[Phase.generate])
    fuzz = unshrunk(given(st.data())(lambda data: headers_of_chance(data, folder, whole)))
    with pytest.raises((TypeError, IndexError, ExceptionGroup)):
        fuzz()
