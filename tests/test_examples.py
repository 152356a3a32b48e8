"""The worked examples run, on data so small that they learn nothing."""

import json
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def optical_flow(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import optical_flow

    for name, value in {"TRAIN": 64, "VALID": 2, "TEST": 2, "ANGLES": range(0, 360, 120)}.items():
        monkeypatch.setattr(optical_flow, name, value)
    monkeypatch.setattr(optical_flow, "ROWS", {"plain": optical_flow.ROWS["plain"]})
    return optical_flow


@pytest.mark.filterwarnings("default")
def test_optical_flow(optical_flow, tmp_path, monkeypatch):
    result, picture = tmp_path / "flow.json", tmp_path / "flow.png"
    words = ["--epochs", "1", "--result", str(result), "--picture", str(picture)]
    monkeypatch.setattr(sys, "argv", ["optical_flow.py", "--seeds", "2", *words])
    optical_flow.main()
    content = json.loads(result.read_text())
    (row,) = content["rows"]
    assert row["net"] == "plain"
    assert list(row["endpoint_error_pixels"]) == ["0", "120", "240"]
    assert len(row["mean_over_angles_pixels"]["each"]) == 2
    unmoved = content["without_a_network"]["no motion"]
    assert max(unmoved.values()) - min(unmoved.values()) < 0.1  # lengths do not depend on the angle
    assert picture.stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["optical_flow.py", "--rates", "0.01", "0.02", *words])
    with pytest.raises(SystemExit):  # it would stand among other figures
        optical_flow.main()
    result.unlink()
    optical_flow.main()
    errors = json.loads(result.read_text())["validation_endpoint_error_pixels"]["plain"]
    assert list(errors) == ["0.01, 1 epochs", "0.02, 1 epochs"]


def test_bad_options(optical_flow, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["optical_flow.py", "--seeds", "0"])
    with pytest.raises(SystemExit):
        optical_flow.main()
    assert "expected --seeds and --epochs of at least 1, received 0 and 10" in capsys.readouterr().err
