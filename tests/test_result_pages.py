"""The pages of results hold what is in `results/`: every file, every row, figures that move with the files."""

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results"


@pytest.fixture(scope="module")
def tool():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        yield importlib.import_module("result_pages")


@pytest.fixture(scope="module")
def pages(tool):
    return tool.pages()


@pytest.fixture
def folder(tmp_path):
    """A copy of the folder of results, to be tampered with."""
    return Path(shutil.copytree(RESULTS, tmp_path / "results"))


def missing(pages, folder):
    """Return the files and pictures of a folder that no page shows."""
    text = "\n".join(pages.values())
    shown = {f"results/{name}" for name in re.findall(r"`results/([\w.-]+\.json)`", text)}
    shown |= {f"results/{name}" for name in re.findall(r"\]\(\.\./results-pictures/([\w.-]+\.png)\)", text)}
    return sorted(
        p.name for p in folder.iterdir() if p.suffix in (".json", ".png") and f"results/{p.name}" not in shown
    )


def test_every_file_and_every_picture_is_shown(pages):
    assert missing(pages, RESULTS) == []


def test_a_file_that_no_page_shows_is_noticed(tool, folder):
    (folder / "new.json").write_text("{}")
    (folder / "new.png").write_bytes(b"")
    assert missing(tool.pages(folder), folder) == ["new.json", "new.png"]


def tables(text):
    """Return the rows of every table by heading of its section, in order."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, body = section.split("\n", 1)
        blocks = re.findall(r"(?:^\|.*\n)+", body + "\n", re.MULTILINE)
        counts = []
        for block in blocks:
            lines = block.splitlines()
            assert re.fullmatch(r"(\|---)+\|", lines[1])
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1, title
            counts.append(len(lines) - 2)
        if counts:
            found[title] = counts
    return found


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_tables_have_as_many_rows_as_the_files(pages):
    systems = result("compare-mnist-rot")["systems"]
    families = result("families")["runs"]
    peers = result("equivariance-comparison")["systems"]
    trained = result("equivariance-mnist-rot-small-gaussian-seed0")
    lines = result("bench-group-order")["lines"]
    fields = result("bench-representations")
    starts = [result("bench-start"), result("bench-start-peers")]
    laws = result("pde-laws")
    flow = result("optical-flow")
    expected = {
        "classification": {
            "MNIST-rot with the authors' small network": [3],
            "Trained upright, tested at every angle": [len(result("turned-digits")["systems"])],
            "Every system, trained alike": [len(systems)],
            "CIFAR-10, narrow networks": [len(result("cifar-narrow")["rows"])],
            "Which filters should be the default?": [
                len({r["family"] for r in families}),
                len({r.get("init") for r in families if r["family"] == "gaussian"}),
            ],
            "How its settings were chosen": [len(result("tuning-mnist-rot-small")["runs"])],
        },
        "equivariance": {
            "One layer and three, beside the peers": [len(peers)],
            "One layer, from its symbol": [len({r["family"] for r in families} - {"plain"})],
            "Six layers, before and after training": [len(peers)],
            "A trained network, layer by layer": [len(trained["depth"]["45 degrees"]), 6],
        },
        "speed": {
            "On a GPU": [sum(len(row["precisions"]) for row in result("gpu-speed")[k]) for k in ("layers", "networks")],
            "One wide layer": [2 * len(result("bench-layer-goals")["rows"])],
            "Time over the order of the group": [2 * len(lines), sum(map(len, lines.values()))],
            "A grid of layers": [len(result("bench-layer")["rows"])],
            "Where the time goes": [len(result("bench-roofline")["rows"])],
            "Layers in space": [len(result("bench-volume")["rows"])],
            "Layers between other fields": [
                len(fields["layers"]) + len(fields["between"]),
                len(fields["construction"]),
            ],
            "The network of escnn's tutorial": [sum(len(g["systems"]) for g in result("bench-networks")["groups"])],
            "CIFAR ResNets": [sum(len(n["systems"]) for n in result("bench-resnet")["networks"])],
            "Starts": [len(start[key]) for start in starts for key in ("network", "first_layers")],
            "Two processes": [len(result("bench-scaling")["rows"])],
            "Augmentation": [len(result("bench-augment")["cases"])],
        },
        "restoration": {
            "Denoising, sigma 25": [len(result("restoration-denoise")["systems"])],
            "Deblurring": [len(result("restoration-deblur")["systems"])],
            "Inpainting": [len(result("restoration-inpaint")["systems"])],
            "Demosaicking": [len(result("restoration-demosaick")["systems"])],
            "Edge maps": [len(result("restoration-edges")["systems"])],
            "Text confidence maps": [len(result("restoration-text")["systems"])],
            "Laws of the PDEs": [len(laws["change by batch-mates"]), len(laws["error of adjoint gradients"])],
            "Neural PDEs on MNIST-rot": [sum(name.startswith("neural-") for name in systems)],
        },
        "fields": {
            "Optical flow": [len(flow["rows"]), len(flow["without_a_network"])],
            "How its learning rates were chosen": [
                sum(map(len, result("tuning-optical-flow")["validation_endpoint_error_pixels"].values()))
            ],
        },
        "volumes": {"Tetracubes": [len(result("volumes")["rows"])]},
        "conversion": {
            "Networks converted by `pdo.convert`": [len(result("convert")["rows"])],
            "Segmentation of digits at any angle": [len(result("segmentation")["rows"])],
            "Lower precision": [len(row["precisions"]) for row in result("precision")["rows"]],
            "A folder of pictures, five commands": [len(result("stranger")["commands"])],
        },
    }
    for name, wanted in expected.items():
        found = tables(pages[f"results/{name}.md"])
        assert found == wanted


TAMPERED = {
    "bench-augment": (["cases", 0, "ours / numpy loop", "ratio"], "7.77 ("),
    "bench-group-order": (["exponents", "group order", "forward_backward", "auto"], "| 7.77 |"),
    "bench-layer": (["rows", 5, "inference", "ratio"], "| 7.77 |"),
    "bench-layer-goals": (["rows", 1, "forward_backward", "ratio"], "7.77 ("),
    "bench-networks": (["groups", 0, "systems", "auto", "forward_backward", "over_escnn", "ratio"], "7.77 ("),
    "bench-representations": (["construction", 3, "median_ms"], "| C4, quotient -> quotient | 8 |"),
    "bench-resnet": (["networks", 0, "systems", "escnn", "inference", "images_per_second"], "| 7.8 |"),
    "bench-roofline": (["rows", 0, "billions", "products"], "| 7.77 |"),
    "bench-scaling": (["rows", 0, "two", "speed-up", "ratio"], "7.77 ("),
    "bench-start": (["first_layers", "I", "auto", "first_layer_ms"], "| I | 8 |"),
    "bench-start-peers": (["network", "escnn", "construction_ms"], "| 8 |"),
    "bench-volume": (["rows", 2, "peak_memory", "ratio"], "| 7.77 |"),
    "cifar-narrow": (["rows", 2, "test_error_percent"], "| 7.77 |"),
    "compare-mnist-rot": (["systems", "ptn-s", "error %"], "| PTN-S | 7.77 (1 run)"),
    "convert": (["rows", 4, "slower"], "| 7.8 times |"),
    "demo": (["test_error_percent"], "| 7.77 (one seed) |"),
    "equivariance-comparison": (["systems", "escnn", "six layers, trained", "digits"], "| 7.77 |"),
    "equivariance-mnist-rot-small-gaussian-seed0": (["depth", "45 degrees", "8"], "| 8 | 7.8e+00 |"),
    "families": (["runs", 2, "error %"], "| 7.77 (1) |"),
    "gpu-speed": (["layers", 0, "precisions", "bfloat16", "inference", "dense", "ratio"], "7.77 ("),
    "mnist-rot-large-seed0": (["test_error_percent"], "**7.77%**"),
    "mnist-rot-small-gaussian-seed0": (["test_error_percent"], "| 7.77 (one seed) |"),
    "mnist-rot-small-seed0": (["test_error_percent"], "(7.77, "),
    "mnist-rot-small-seed1": (["test_error_percent"], ", 7.77)"),
    "optical-flow": (["rows", 1, "endpoint_error_pixels", "90", "mean"], "| 7.77 |"),
    "pde-laws": (["change by batch-mates", "dopri5, 0.01"], "| 7.8e+00 |"),
    "playground": (["networks", "equivariant", "error_any_angle"], "| 777.0 |"),
    "playground-load": (["load_average"], "was 7.8:"),
    "precision": (["rows", 0, "precisions", "int8, onnxruntime", "test_error_percent"], "| 7.77 |"),
    "restoration-deblur": (["systems", "wiener", "psnr", "set12"], "| Wiener | 7.77, "),
    "restoration-demosaick": (["systems", "bilinear", "psnr", "synthetic"], "| Bilinear | 7.77, "),
    "restoration-denoise": (["systems", "bm3d", "psnr", "set12"], "| BM3D | 7.77, "),
    "restoration-edges": (["systems", "heat", "psnr", "bsd68"], " 7.77, "),
    "restoration-inpaint": (["systems", "tnrd", "psnr", "set12"], "| TNRD type | 7.77, "),
    "restoration-text": (["systems", "lpde-general", "psnr", "synthetic"], " 7.77, "),
    "segmentation": (["rows", 3, "turned", "mean_iou"], "| 7.770 |"),
    "stranger": (["equivariance_error", "45"], "by 7.8e+00 at 45 degrees"),
    "tuning-mnist-rot-small": (["runs", 1, "valid_error_percent", -1], "| 7.8 |"),
    "tuning-optical-flow": (["validation_endpoint_error_pixels", "plain", "0.06, 10 epochs"], "| 7.770 |"),
    "turned-digits": (["systems", "plain CNN", "error_percent", 12], "| 7.8 |"),
    "volumes": (["rows", 0, "error_percent", "cube", "mean"], "| 7.8 ± "),
}


def test_every_file_that_must_be_there_is_tampered_with():
    assert {p.stem for p in RESULTS.glob("*.json")} == set(TAMPERED)


@pytest.mark.parametrize("name", TAMPERED)
def test_a_figure_follows_its_file(name, tool, pages, folder):
    path, shown = TAMPERED[name]
    content = result(name)
    place = content
    for key in path[:-1]:
        place = place[key]
    assert isinstance(place[path[-1]], float)
    place[path[-1]] = 7.77
    (folder / f"{name}.json").write_text(json.dumps(content))
    changed = tool.pages(folder)
    assert sum(text.count(shown) for text in changed.values()) > sum(text.count(shown) for text in pages.values())


def bad_links(pages):
    """Return links that lead nowhere, or out of the documentation."""
    bad = []
    for path, text in pages.items():
        for target in re.findall(r"\]\(([^)]*)\)", text):
            file, _, anchor = target.partition("#")
            place = (Path("docs") / Path(path).parent / file).as_posix()
            parts = [part for part in place.split("/") if part != "."]
            while ".." in parts:
                at = parts.index("..")
                del parts[at - 1 : at + 1]
            place = "/".join(parts)
            if place.startswith("docs/results-pictures/"):
                good = (RESULTS / Path(place).name).exists()
            elif place.startswith("docs/results/"):
                other = pages.get(place.removeprefix("docs/"), "")
                headings = {
                    re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)", other, re.M)
                }
                good = bool(other) and (not anchor or anchor in headings)
            else:
                good = (ROOT / place).exists()
            if not good or ":" in target or target.startswith("/"):
                bad.append(target)
    return bad


def test_links_lead_somewhere(pages):
    assert bad_links(pages) == []


def test_dead_links_are_noticed():
    text = (
        "[a](speed.md) [b](https://example.org/x) [c](../results-pictures/none.png) [d](../conventions.md) [e](x.md#z)"
    )
    dead = ["speed.md", "https://example.org/x", "../results-pictures/none.png", "x.md#z"]
    assert bad_links({"results/index.md": text, "results/x.md": "# y"}) == dead


def bad_commands(pages):
    """Return commands on the pages that do not exist, or not with these options."""
    bad = []
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    command_line = "".join(path.read_text() for path in (ROOT / "src" / "pdoconv" / "cli").glob("*.py"))
    recipes = "".join(path.read_text() for path in (ROOT / "src" / "pdoconv" / "recipes").glob("*.py"))
    said = [line for text in pages.values() for line in re.findall(r"^Written by (.*):$", text, re.MULTILINE)]
    said += re.findall(r"`python tools.*?`", pages["results/index.md"])
    for command in (c for line in said for c in re.findall(r"`([^`]+)`", line)):
        program, *words = command.split()
        options = [word for word in words if word.startswith("--")]
        if program == "make":
            good = set(words) <= targets
        elif program == "python":
            script = ROOT / words[0]
            good = script.exists() and all(f'"{option}"' in script.read_text() for option in options)
        else:
            known = command_line + recipes
            good = program == "pdoconv" and f"def {words[0]}(" in command_line
            good = good and all(option[2:].replace("-", "_") in known for option in options)
        if not good:
            bad.append(command)
    assert said
    return bad


def test_commands_exist(pages):
    assert bad_commands(pages) == []


def test_wrong_commands_are_noticed():
    text = "Written by `make nothing`, `python benchmarks/volumes.py --never`, `pdoconv fly`, `make bench`:"
    assert bad_commands({"results/index.md": text}) == [
        "make nothing",
        "python benchmarks/volumes.py --never",
        "pdoconv fly",
    ]


def write(folder, name, content):
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_missing_files_are_told(tool, folder):
    (folder / "demo.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"demo\.json is missing; benchmarks/README\.md says"):
        tool.pages(folder)


def test_pages_change_nothing(tool, pages, folder):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert tool.pages(folder) == pages
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_command_line(tool, pages, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["result_pages.py", str(tmp_path / "out")])
    tool.main()
    assert {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.md")} == set(pages)
    assert (tmp_path / "out" / "results" / "index.md").read_text() == pages["results/index.md"]
    monkeypatch.setattr("sys.argv", ["result_pages.py"])
    with pytest.raises(SystemExit, match="Expected one argument, the folder to write into, received 0"):
        tool.main()


def test_refusals(tool, tmp_path):
    with pytest.raises(FileNotFoundError, match="Expected a folder of result files"):
        tool.pages(tmp_path / "none")
    page = importlib.import_module("results.page")
    with pytest.raises(ValueError, match="Expected 2 cells, received 1"):
        page.table(("a", "b"), [("c",)])
