"""Pairs of frames with known flow, upright and turned."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import relative
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pdoconv.data import flows
from pdoconv.data.flows import mnist_digits, sample
from pdoconv.grid import move
from pdoconv.plot import vector_field

flow_pairs = partial(flows.flow_pairs, part="test")  # the smallest part
QUARTER = np.array([[0.0, -1.0], [1.0, 0.0]])


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def turned_vectors(flow, matrix):
    """Move a vector field: its places and its components."""
    return torch.einsum("ij,njhw->nihw", torch.as_tensor(matrix, dtype=flow.dtype), move(flow, matrix))


def warped(frame, flow):
    """Read frame 1 at p - flow(p) with torch's own interpolation, `(n, 1, size, size)`."""
    size = frame.shape[-1]
    x = torch.arange(size) - (size - 1) / 2
    column, up = x - flow[:, 0], -x[:, None] - flow[:, 1]
    grid = torch.stack([column, -up], -1) * (2 / size)
    return F.grid_sample(frame, grid, mode="bicubic", align_corners=False)


def inside(x, margin=8):
    return x[..., margin:-margin, margin:-margin]


def test_pairs_are_the_same_again_and_drift_to_the_right():
    first, again = flow_pairs(40, seed=3), flow_pairs(40, seed=3)
    assert torch.equal(first.frames, again.frames)
    assert torch.equal(first.flow, again.flow)
    for other in (flow_pairs(40, seed=4), flow_pairs(40, seed=3, part="valid")):
        assert not torch.equal(first.frames, other.frames)
        assert not torch.equal(first.flow, other.flow)
    assert first.frames.shape == first.flow.shape == (40, 2, 32, 32)
    assert first.frames.dtype == first.flow.dtype == torch.float32
    assert 0 <= first.frames.min() < first.frames.max() <= 1
    assert (first.flow.mean((0, 2, 3)) - torch.tensor([2.0, 0.0])).abs().max() < 0.4
    assert (first.flow.std((0, 2, 3)) - np.hypot(0.7, 0.7)).abs().max() < 0.2


def test_second_frame_is_the_first_moved_along_the_flow():
    pairs = flow_pairs(20, 40.0)
    before, after = inside(pairs.frames[:, :1]), inside(pairs.frames[:, 1:])
    error = float((inside(warped(pairs.frames[:, :1], pairs.flow)) - after).square().mean())
    assert error < 3e-4  # of torch's interpolation
    assert float((before - after).square().mean()) > 100 * error
    for wrong in (-pairs.flow, pairs.flow.flip(1), pairs.flow * torch.tensor([1.0, -1.0])[:, None, None]):
        assert float((inside(warped(pairs.frames[:, :1], wrong)) - after).square().mean()) > 100 * error


@pytest.mark.parametrize("size", [32, 31])
def test_quarter_turns_are_exact(size):
    upright = flow_pairs(6, size=size)
    for quarters in (1, 2, 3):
        matrix = np.linalg.matrix_power(QUARTER, quarters)
        turned = flow_pairs(6, 90.0 * quarters, size=size)
        frames = torch.rot90(upright.frames, quarters, (2, 3))
        assert torch.equal(frames, move(upright.frames, matrix))
        assert relative(turned.frames, frames) < 1e-6
        assert relative(turned.flow, turned_vectors(upright.flow, matrix)) < 1e-6
        not_turned = torch.rot90(upright.flow, quarters, (2, 3))  # places moved, components left as they were
        assert relative(turned.flow, not_turned) > 0.5
        backwards = turned_vectors(upright.flow, matrix.T)  # the same for half a turn
        assert quarters == 2 or relative(turned.flow, backwards) > 0.5


def test_other_angles_agree_with_interpolated_motion():
    upright, turned, matrix = flow_pairs(6), flow_pairs(6, 30.0), rotation(30)
    assert relative(inside(turned.flow), inside(turned_vectors(upright.flow, matrix))) < 2e-2
    assert (inside(turned.frames) - inside(move(upright.frames, matrix))).abs().mean() < 2e-2
    assert relative(inside(turned.flow), inside(turned_vectors(upright.flow, matrix.T))) > 0.2
    assert (inside(turned.frames) - inside(move(upright.frames, matrix.T))).abs().mean() > 0.2


def test_each_pair_has_its_own_angle():
    angles = np.array([0.0, 75.0, -200.0])
    each = flow_pairs(3, angles)
    for i, angle in enumerate(angles):
        alike = flow_pairs(3, angle)
        assert torch.equal(each.frames[i], alike.frames[i])
        assert torch.equal(each.flow[i], alike.flow[i])


def test_sampling_is_a_sum_of_cubic_splines():
    def spline(t):  # by truncated powers, a formula of its own
        powers = [np.maximum(t + 2 - k, 0) ** 3 for k in range(5)]
        return (powers[0] - 4 * powers[1] + 6 * powers[2] - 4 * powers[3] + powers[4]) / 6

    rng = np.random.default_rng(0)
    pictures, places = rng.normal(size=(2, 9, 9)), rng.uniform(-2.9, 2.9, (2, 50, 2))
    nodes = np.arange(9) - 4
    columns, rows = (spline(places[..., i, None] - sign * nodes) for i, sign in ((0, 1), (1, -1)))
    assert np.abs(sample(pictures, places) - np.einsum("npr,nrc,npc->np", rows, pictures, columns)).max() < 1e-12
    slope = np.broadcast_to(nodes.astype(float), (2, 9, 9))  # splines keep straight lines
    assert np.abs(sample(slope, places) - places[..., 0]).max() < 1e-12


def test_parts_share_no_digit():
    parts = {part: {digit.tobytes() for digit in mnist_digits(part)} for part in ("train", "valid", "test")}
    assert [len(parts[part]) for part in parts] == [50_000, 10_000, 10_000]
    assert not parts["train"] & parts["valid"]
    assert not (parts["train"] | parts["valid"]) & parts["test"]


def drawn(vectors):
    """Draw on one bright pixel, ten dots a pixel, as `(400, 800, 3)`."""
    figure = Figure(figsize=(8, 4), dpi=100)
    canvas = FigureCanvasAgg(figure)
    image = torch.zeros(40, 80)
    image[30, 60] = 1.0
    vector_field(figure.add_axes((0, 0, 1, 1), frameon=False), image, vectors, step=4, margin=4)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def test_arrows_point_where_things_go():
    none, one = torch.zeros(2, 40, 80), torch.zeros(2, 40, 80)
    one[:, 4, 8] = torch.tensor([20.0, -10.0])  # from the upper left to the right and down
    without, shown = drawn(none), drawn(one)
    assert shown[303, 603].min() > 100 > shown[295, 603].max()
    rows, columns = np.nonzero((without != shown).any(2))
    assert abs(columns.max() - 285) < 5
    assert abs(rows[columns.argmax()] - 145) < 5
    assert columns.min() > 75
    assert rows.min() > 35


def test_progress_of_many_pairs(capsys):
    flow_pairs(8)
    assert capsys.readouterr().err == ""
    flow_pairs(1001, size=8)
    assert "moving digits: 5/5" in capsys.readouterr().err


def test_bad_arguments():
    for bad in ({"samples": 0}, {"seed": -1}, {"size": 7}, {"part": "all"}):
        with pytest.raises(ValueError, match="flow_pairs: expected samples >= 1"):
            flow_pairs(**{"samples": 4} | bad)
    for angle in (np.zeros(3), np.zeros((4, 1)), np.nan):
        with pytest.raises(ValueError, match="expected a finite angle in degrees, or one for each of 4 pairs"):
            flow_pairs(4, angle)


def test_missing_digits(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"mnist\.npz is missing"):
        flow_pairs(1, root=tmp_path)
