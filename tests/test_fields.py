import math

import numpy as np
import pytest
import torch

import pdoconv as pdo
from pdoconv.fields import FieldType
from pdoconv.grid import good_sides, keeps_grid, move
from pdoconv.groups import rotation


def test_sums_and_printing():
    C8 = pdo.cyclic(8)
    t = C8.trivial(1) + C8.regular(4)
    assert (t.channels, t.fields, t.kind) == (33, 5, "mixed")
    assert str(t) == "C8: 1 trivial + 4 regular"
    assert C8.regular(2) + C8.regular(3) == C8.regular(5)
    with pytest.raises(ValueError, match="fields of one kind"):
        _ = t.field_size
    with pytest.raises(ValueError, match="use one group"):
        C8.trivial(1) + pdo.cyclic(4).trivial(1)


@pytest.mark.parametrize("n", [0, -1, 1.5, True])
def test_bad_number_of_fields(n):
    with pytest.raises(ValueError, match="at least 1"):
        pdo.cyclic(4).regular(n)


def test_bad_types():
    for kind in ("spin", pdo.cyclic(8).regular(1).blocks[0][0]):
        with pytest.raises(ValueError, match="Expected a representation of C4"):
            FieldType(pdo.cyclic(4), ((kind, 1),))
    with pytest.raises(ValueError, match="at least one block"):
        FieldType(pdo.cyclic(4), ())


def test_quarter_turn_is_counter_clockwise():
    """A pixel on the right (x > 0) goes up (y > 0), which is towards row 0."""
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 2] = 1
    y = pdo.cyclic(4).trivial(1).transform(x, 1)
    assert y[0, 0, 0, 1] == 1
    assert torch.equal(y, torch.rot90(x, 1, (2, 3)))
    flipped = pdo.dihedral(1).trivial(1).transform(torch.arange(6.0).view(1, 1, 2, 3), 1)
    assert torch.equal(flipped.flatten(), torch.tensor([3.0, 4, 5, 0, 1, 2]))


@pytest.mark.parametrize("name", ["C4", "D4", "C8", "D8", "D6"])
@pytest.mark.parametrize("shape", [(5, 5), (6, 6), (4, 7)])
def test_transform_is_an_action(name, shape):
    """act(g, act(h, x)) == act(gh, x), exactly, for lattice symmetries and mixed types."""
    group = pdo.group(name)
    field = group.trivial(2) + group.regular(2)
    x = torch.randn(2, field.channels, *shape, dtype=torch.float64)
    for g in group.lattice_elements:
        for h in group.lattice_elements:
            left = field.transform(field.transform(x, h), g)
            assert torch.equal(left, field.transform(x, int(group.product[g, h])))


def test_regular_field_moves_the_group_axis():
    """C_n: a rotation by 2 pi j / n rolls the group axis by +j."""
    C4 = pdo.cyclic(4)
    x = torch.randn(1, 4, 1, 1)
    assert torch.equal(C4.regular(1).transform(x, 1), x.roll(1, dims=1))


def test_interpolated_transform_follows_a_smooth_function():
    """45 degrees: the interpolated map is near the rotated function; the wrong direction is not."""
    line = torch.arange(65, dtype=torch.float64) - 32
    px, py = line[None, :], -line[:, None]

    def blob(qx, qy):
        return torch.exp(-((qx - 9) ** 2 / 60 + (qy + 3) ** 2 / 120))

    t = math.pi / 4
    expected = blob(math.cos(t) * px + math.sin(t) * py, -math.sin(t) * px + math.cos(t) * py)
    field = pdo.cyclic(8).trivial(1)
    x = blob(px, py)[None, None]
    assert (field.transform(x, 1, mode="bicubic")[0, 0] - expected).abs().max() < 1e-2
    assert (field.transform(x, 1)[0, 0] - expected).abs().max() < 3e-2
    assert (field.transform(x, 7)[0, 0] - expected).abs().max() > 0.5
    wide = torch.zeros(1, 1, 65, 81, dtype=torch.float64)
    wide[..., 8:73] = x
    assert (move(wide, rotation(t), mode="bicubic")[0, 0, :, 8:73] - expected).abs().max() < 1e-2


def test_interpolation_agrees_with_exact_at_the_quarter_turn():
    x = torch.randn(1, 2, 8, 8, dtype=torch.float64)
    exact = move(x, rotation(math.pi / 2).round())
    nearly = move(x, rotation(math.pi / 2 + 1e-9))
    assert (exact - nearly).abs().max() < 1e-6


def test_three_dimensions():
    x = torch.randn(1, 1, 3, 4, 4)
    turn = np.eye(3)
    turn[:2, :2] = [[0, -1], [1, 0]]  # about z, x to y
    assert torch.equal(move(x, turn), torch.rot90(x, 1, (3, 4)))


def test_bad_input():
    field = pdo.cyclic(4).regular(2)
    for x in (torch.zeros(1, 7, 5, 5), torch.zeros(8, 5, 5)):
        with pytest.raises(ValueError, match=r"expected \(batch, 8, height, width\)"):
            field.transform(x, 1)
    with pytest.raises(ValueError, match="elements 0 to 3"):
        field.transform(torch.zeros(1, 8, 5, 5), 4)
    with pytest.raises(ValueError, match="spatial axes"):
        move(torch.zeros(5, 5), np.eye(2))


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"), [(5, 2, 2, 1), (3, 3, 0, 1), (2, 2, 0, 1), (3, 2, 1, 2)]
)
def test_grid_rule_is_when_samples_are_centred(kernel, stride, padding, dilation):
    for side in range(9, 30):
        reach = dilation * (kernel - 1)
        centres = np.arange(-padding, side + padding - reach, stride) + reach / 2
        assert keeps_grid(side, kernel, stride, padding, dilation) == np.isclose(centres.mean(), (side - 1) / 2)
        low, high = good_sides(side, kernel, stride, padding, dilation)
        assert low <= side < high
        assert keeps_grid(low, kernel, stride, padding, dilation)
        assert keeps_grid(high, kernel, stride, padding, dilation)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_interpolation_in_low_precision(dtype):
    field = pdo.cyclic(8).trivial(1)
    x = torch.randn(1, 1, 224, 224).to(dtype)
    y = field.transform(x, 1)
    assert y.dtype == dtype
    assert (y.float() - field.transform(x.float(), 1)).abs().max() < 0.02
    with pytest.raises(ValueError, match="floating-point"):
        field.transform(torch.zeros(1, 1, 9, 9, dtype=torch.uint8), 1)
