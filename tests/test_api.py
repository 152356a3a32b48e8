"""The public face: names, import cost, the README."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import pdoconv as pdo

ROOT = Path(__file__).parents[1]
NAMES = (
    "AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d BlurPool1d BlurPool2d BlurPool3d Converted "
    "FieldDropout FieldType GatedActivation Group GroupConv1d GroupConv2d GroupConv3d GroupConvTranspose1d "
    "GroupConvTranspose2d GroupConvTranspose3d GroupPool MaxPool1d MaxPool2d MaxPool3d NormActivation NormPool "
    "PDOConv1d PDOConv2d PDOConv3d PDOConvTranspose1d PDOConvTranspose2d PDOConvTranspose3d PointwiseActivation "
    "Representation Restrict Sequential Upsample VectorOutput conversion_report convert cyclic data dihedral "
    "equivariance_curve equivariance_error export filters group icosahedral load measure models nn o2 octahedral "
    "operators pde reflection save so2 stencils tetrahedral"
)


def test_public_names():
    """A name that goes or comes is a change for users: it belongs in the changelog."""
    modules = {
        "fields",
        "files",
        "grid",
        "groups",
        "plot",
        "playground",
        "plot_pde",
        "pointgroups",
        "survey",
        "restoration",
        "restore_file",
        "compare",
        "progress",
        "representations",
        "irreps",
        "kernels",
        "recipes",
        "training",
        "cli",
        "writing",
    }
    public = {name for name in vars(pdo) if not name.startswith("_")} - modules
    assert sorted(public) == sorted(NAMES.split())
    assert pdo.nn.PDOConv2d is pdo.PDOConv2d


def test_import_needs_torch_and_numpy_alone():
    code = (
        "import sys, torch, time; t = time.perf_counter(); import pdoconv; t = time.perf_counter() - t;"
        "heavy = {'lightning', 'matplotlib', 'typer', 'onnx', 'onnxruntime', 'safetensors', 'rich', 'scipy'};"
        "print(sorted(heavy & set(sys.modules)), t)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("[]")
    assert float(shown.split()[-1]) < 2


def test_version_is_stated_once():
    assert f'version = "{pdo.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## [{pdo.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/start.md"])
def test_networks_of_the_first_pages(page, tmp_path, monkeypatch):
    """The code in the README and in the five-minute start, as it stands there, and what it promises."""
    monkeypatch.chdir(tmp_path)
    scope = {}
    start = time.perf_counter()
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        exec(block, scope)
    x = torch.randn(2, 3, 33, 33)
    assert scope["net"](x).shape == (2, 10)
    assert torch.allclose(scope["plain"](x), scope["net"](x), atol=1e-5)
    if page == "docs/start.md":
        assert scope["flow"](x[:, :2]).shape == (2, 2, 33, 33)
        turned = scope["twin"].eval()(x.rot90(1, (2, 3)))
        assert torch.allclose(turned, scope["twin"](x), atol=1e-4)
        assert (tmp_path / "twin.safetensors").exists()
    assert time.perf_counter() - start < 60


def test_files_stay_short():
    long = {p.name: n for p in (ROOT / "src").rglob("*.py") if (n := len(p.read_text().splitlines())) > 300}
    assert not long
