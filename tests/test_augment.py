"""Augmentation: against a slow reference, exact quarter turns, statistics of the draws, mixup, batches split in two."""

import cmath
import itertools
import math

import numpy as np
import pytest
import torch
from conftest import relative
from scipy import stats

from pdoconv.data.augment import DRAWS, Augment, _band

EVERYTHING = Augment(crop=2, flip=True, rotate=40.0, cutout=3, mixup=0.4)
SETTINGS = [
    Augment(crop=3),
    Augment(flip=True),
    Augment(crop=2, flip=True),
    Augment(cutout=4),
    Augment(crop=1, flip=True, cutout=3),
    Augment(rotate=180.0),
    Augment(flip=True, rotate=30.0, cutout=2),
    EVERYTHING,
]
SHAPES = [(6, 2, 7, 5), (5, 3, 6, 6), (6, 1, 4, 9)]
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


def draws_of(augment, n, seed=0):
    return augment.draw(np.random.default_rng(seed), n)


def identity(augment, n):
    """Draws that change nothing; the cutout lies outside."""
    return torch.tensor([[augment.crop, augment.crop, 0, 0, -9, -9, 1]]).float().repeat(n, 1)


def reference(augment, x, draws):
    """Pixel by pixel, with complex numbers for places: to the right and up from the centre."""
    out, (height, width) = torch.zeros_like(x), x.shape[2:]
    for n, channel, i, j in np.ndindex(*x.shape):
        row, column, flip, degrees, v, u, _ = draws[n].tolist()
        if augment.cutout:
            top = math.floor(v * height) - augment.cutout // 2
            left = math.floor(u * width) - augment.cutout // 2
            if top <= i < top + augment.cutout and left <= j < left + augment.cutout:
                continue
        place = complex(j - (width - 1) / 2, (height - 1) / 2 - i)
        if augment.rotate:
            place *= cmath.exp(-1j * math.radians(degrees))
        if augment.flip and flip:
            place = -place.conjugate()
        r = (height - 1) / 2 - place.imag + row - augment.crop
        c = (width - 1) / 2 + place.real + column - augment.crop
        for a, b in itertools.product((math.floor(r), math.floor(r) + 1), (math.floor(c), math.floor(c) + 1)):
            if 0 <= a < height and 0 <= b < width:
                out[n, channel, i, j] += (1 - abs(r - a)) * (1 - abs(c - b)) * x[n, channel, a, b]
    return out


# the function


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("augment", SETTINGS, ids=str)
def test_equals_the_slow_reference(augment, shape):
    x, draws = torch.randn(shape, dtype=torch.float64), draws_of(augment, shape[0])
    expected = reference(augment, x, draws)
    found = augment(x, draws)
    if augment.rotate:
        assert relative(found, expected) < 1e-12
        assert relative(augment(x.float(), draws), expected.float()) < 1e-5
    else:
        assert torch.equal(found, expected)
        assert torch.equal(augment(x.float(), draws), expected.float())


@pytest.mark.parametrize("wrong", ["rows for columns", "not flipped", "clockwise", "cut elsewhere", "rows reversed"])
def test_reference_rejects_wrong_versions(wrong):
    x, draws = torch.randn(8, 2, 6, 6, dtype=torch.float64), draws_of(EVERYTHING, 8)
    other = draws.clone()
    if wrong == "rows for columns":
        other[:, :2] = draws[:, [1, 0]]
    elif wrong == "not flipped":
        other[:, 2] = 0
    elif wrong == "clockwise":
        other[:, 3] *= -1
    elif wrong == "cut elsewhere":
        other[:, 4:6] = draws[:, [5, 4]]
    else:
        other[:, 0] = 2 * EVERYTHING.crop - draws[:, 0]
    assert relative(EVERYTHING(x, draws), reference(EVERYTHING, x, other)) > 0.1


@pytest.mark.parametrize("side", [1, 2, 5, 8, 31, 32, 33])
@pytest.mark.parametrize("degrees", [-180, -90, 0, 90, 180])
def test_quarter_turns_are_exact(side, degrees):
    augment = Augment(rotate=180.0)
    x = torch.randn(2, 3, side, side)
    draws = identity(augment, 2)
    draws[:, 3] = degrees
    for exact, tolerance in ((x, 2e-5), (x.double(), 1e-12)):
        expected = torch.from_numpy(np.rot90(exact.numpy(), degrees // 90, (2, 3)).copy())
        assert relative(augment(exact, draws), expected) < tolerance
    if abs(degrees) == 90 and side > 1:
        clockwise = torch.from_numpy(np.rot90(x.numpy(), -degrees // 90, (2, 3)).copy())
        assert relative(augment(x, draws), clockwise) > 0.1
    if degrees and side > 1:  # about a pixel beside the centre
        assert relative(augment(x, draws).roll(1, 3), torch.rot90(x, degrees // 90, (2, 3))) > 0.1


def test_quarter_turns_of_rectangles():
    augment = Augment(rotate=180.0)
    draws = identity(augment, 1)
    draws[:, 3] = 90
    for height, width in ((5, 9), (8, 4)):
        x = torch.randn(1, 1, height, width)
        side, found = min(height, width), augment(x, draws)
        top, left = (height - side) // 2, (width - side) // 2
        square = (..., slice(top, top + side), slice(left, left + side))
        assert relative(found[square], torch.rot90(x[square], 1, (2, 3))) < 1e-5
        found[square] = 0
        assert found.abs().max() < 1e-5  # beyond the image there are zeros
    x = torch.randn(1, 1, 8, 5)  # one side even, one odd: between the pixels
    assert relative(augment(x, draws)[..., 2:7, :], torch.rot90(x[..., 2:7, :], 1, (2, 3))) > 0.1


def test_rotation_sees_beyond_the_crop():
    augment, x = Augment(crop=3, rotate=45.0), torch.ones(1, 1, 8, 8)
    draws = torch.tensor([[0.0, 3.0, 0.0, 45.0, 0.0, 0.0, 1.0]])
    cropped = Augment(crop=3)(x, draws)
    turned = Augment(rotate=45.0)(cropped, draws)
    assert float(augment(x, draws).sum()) > float(turned.sum()) + 1  # one after the other loses pixels
    assert relative(augment(x, draws), reference(augment, x, draws)) < 1e-5


def test_cutout_by_hand():
    x, draws = torch.ones(3, 2, 6, 8), torch.zeros(3, DRAWS)
    draws[:, 4], draws[:, 5] = torch.tensor([0.5, 0.0, 0.99]), torch.tensor([0.5, 0.0, 0.5])
    left = {cutout: 48 - Augment(cutout=cutout)(x, draws)[:, 1].sum((1, 2)) for cutout in (1, 3, 4)}
    assert [each.tolist() for each in left.values()] == [[1, 1, 1], [9, 4, 6], [16, 4, 12]]
    assert (Augment(cutout=3)(x, draws)[0, :, 2:5, 3:6] == 0).all()


@pytest.mark.parametrize("augment", SETTINGS, ids=str)
def test_identity_draws_change_nothing(augment):
    x = torch.randn(6, 2, 7, 8)
    found = augment(x, identity(augment, 6))
    assert relative(found, x) < 2e-6
    assert augment.rotate or torch.equal(found, x)
    assert relative(augment(x, draws_of(augment, 6)), x) > 0.1


def test_nothing_returns_the_images_themselves():
    x, y = torch.randn(4, 1, 5, 5), torch.arange(4)
    assert Augment()(x, draws_of(Augment(), 4)) is x
    assert Augment(mixup=0.3)(x, draws_of(Augment(), 4)) is x
    mixed, targets = Augment(crop=2).mix(x, y, draws_of(Augment(), 4), 4)
    assert mixed is x
    assert targets is y
    assert not Augment()
    assert all(SETTINGS)
    assert Augment(mixup=0.1)


@pytest.mark.parametrize("augment", SETTINGS, ids=str)
def test_a_batch_split_in_two_gives_the_same_images(augment):
    x, draws = torch.randn(11, 3, 9, 8), draws_of(augment, 11)
    whole = augment(x, draws)
    assert torch.equal(whole, torch.cat([augment(x[:4], draws[:4]), augment(x[4:], draws[4:])]))
    other = draws.clone()
    other[5] = draws_of(augment, 11, seed=1)[2]  # another row changes its own image only
    changed = (augment(x, other) != whole).flatten(1).any(1)
    assert not changed[torch.arange(11) != 5].any()
    assert not torch.equal(whole, torch.cat([augment(x[:4], draws[:4]), augment(x[4:], draws[:7])]))


# mixup


@pytest.mark.parametrize("n", [1, 4, 7])
def test_mixup_equals_the_slow_reference(n):
    augment = Augment(mixup=0.7)
    x, y, draws = torch.randn(n, 2, 3, 4, dtype=torch.float64), torch.arange(n) % 3, draws_of(augment, n)
    mixed, targets = augment.mix(x, y, draws, 5)
    expected, probabilities = torch.zeros_like(x), torch.zeros(n, 5, dtype=torch.float64)
    for i, share in enumerate(draws[:, 6].double()):
        expected[i] = share * x[i] + (1 - share) * x[n - 1 - i]
        probabilities[i, y[i]] += share
        probabilities[i, y[n - 1 - i]] += 1 - share
    assert relative(mixed, expected) < 1e-12
    assert relative(targets, probabilities) < 1e-12
    if n > 1:
        assert relative(mixed, x + x.flip(0) - expected) > 0.1  # shares exchanged
        assert relative(targets, probabilities.flip(0)) > 0.1


def test_mixup_in_other_types():
    augment, x = Augment(mixup=0.5), torch.randn(16, 1, 4, 4)
    draws = draws_of(augment, 16)
    y = torch.arange(16, dtype=torch.uint8) % 10
    exact, targets = augment.mix(x, y, draws, 10)
    assert (exact.dtype, targets.dtype) == (torch.float32, torch.float32)
    assert relative(targets.sum(1), torch.ones(16)) < 1e-6
    half, same = augment.mix(x.bfloat16(), y, draws, 10)
    assert half.dtype == torch.bfloat16
    assert torch.equal(same, targets)  # shares are not rounded to 8 bits
    assert relative(half.float(), exact) < 1e-2
    assert torch.equal(augment.mix(x, y, identity(augment, 16), 10)[0], x)


def test_mixup_of_a_split_batch_has_other_partners():
    augment, x, y = Augment(mixup=0.5), torch.randn(6, 1, 4, 4), torch.arange(6)
    draws = draws_of(augment, 6)
    parts = [augment.mix(x[part], y[part], draws[part], 6)[0] for part in (slice(3), slice(3, 6))]
    assert relative(torch.cat(parts), augment.mix(x, y, draws, 6)[0]) > 0.1


# the draws


def chi_square(values, bins):
    """The probability of counts at least as uneven, were all bins equally likely."""
    return stats.chisquare(np.bincount(np.asarray(values, dtype=np.int64), minlength=bins)).pvalue


def test_offsets_and_flips_are_uniform():
    draws = draws_of(Augment(crop=4, flip=True), 40_000).numpy()
    row, column, flip = draws[:, 0], draws[:, 1], draws[:, 2]
    assert set(np.unique(row)) == set(np.unique(column)) == set(range(9))
    assert chi_square(9 * row + column, 81) > 0.01  # each axis on its own
    assert chi_square(flip + 2 * (column > 4), 4) < 1e-6  # columns above 4 are four of nine
    assert set(np.unique(flip)) == {0, 1}
    assert chi_square(flip, 2) > 0.01
    assert chi_square(9 * flip + row, 18) > 0.01
    u = np.random.default_rng(0).random(40_000)
    assert chi_square(np.rint(8 * u), 9) < 1e-6  # rounded, the ends come half as often
    assert chi_square(9 * row + row, 81) < 1e-6


def test_centres_of_cutout_are_uniform():
    draws, x = draws_of(Augment(cutout=1), 20_000), torch.ones(20_000, 1, 4, 5)
    holes = (Augment(cutout=1)(x, draws) == 0).flatten(1)
    assert (holes.sum(1) == 1).all()
    places = holes.int().argmax(1)
    assert chi_square(places, 20) > 0.01
    largest = torch.tensor([1 - 2.0**-24])  # never the pixel after the last
    assert all(_band(largest, 1, side)[0, -1] for side in range(1, 5000))


def test_angles_are_uniform():
    angles = draws_of(Augment(rotate=25.0), 20_000)[:, 3].double().numpy()
    assert -25 <= angles.min() < -24.9
    assert 24.9 < angles.max() <= 25
    assert stats.kstest(angles, stats.uniform(-25, 50).cdf).pvalue > 0.01
    for wrong in (np.abs(angles), 0.95 * angles):
        assert stats.kstest(wrong, stats.uniform(-25, 50).cdf).pvalue < 1e-6


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_follow_the_beta_distribution(alpha):
    share = draws_of(Augment(mixup=alpha), 50_000)[:, 6].double().numpy()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(share.mean() - 0.5) < 4 * math.sqrt(variance / len(share))
    assert abs(share.var() / variance - 1) < 0.03
    low = share[share < 0.5]  # near 1, alpha = 0.2, float32 has too few values
    for near, holds in ((alpha, True), (1.2 * alpha, False)):
        law = stats.beta(near, near).cdf
        p = stats.kstest(low, lambda s, law=law: 2 * law(s)).pvalue
        assert p > 0.01 if holds else p < 1e-6


def test_draws_repeat_and_settings_do_not_disturb_each_other():
    state = torch.get_rng_state()
    draws = draws_of(EVERYTHING, 50)
    assert draws.shape == (50, DRAWS)
    assert draws.dtype == torch.float32
    assert draws.device.type == "cpu"
    assert torch.equal(draws, draws_of(EVERYTHING, 50))
    assert not torch.equal(draws, draws_of(EVERYTHING, 50, seed=1))
    assert torch.equal(draws[:, :3], draws_of(Augment(crop=2, flip=True), 50)[:, :3])
    off = draws_of(Augment(), 50)
    assert (off[:, :4] == 0).all()
    assert (off[:, 6] == 1).all()
    assert torch.equal(state, torch.get_rng_state())
    assert draws_of(EVERYTHING, 0).shape == (0, DRAWS)


# types, formats, devices, compiler


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("augment", SETTINGS, ids=str)
def test_types_and_formats(augment, dtype, device):
    x, draws = torch.randn(5, 3, 9, 8, device=device).to(dtype), draws_of(augment, 5)
    expected, found = augment(x.double(), draws), augment(x, draws)
    assert (found.dtype, found.device, found.is_contiguous()) == (x.dtype, x.device, True)
    tolerance = {torch.bfloat16: 4e-3, torch.float16: 1e-3}.get(dtype, 1e-5) if augment.rotate else 1e-30
    assert relative(found.double(), expected) < tolerance
    for other in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT):
        assert torch.equal(augment(other, draws), found)
    last = augment(x.to(memory_format=torch.channels_last), draws)
    assert last.is_contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert torch.equal(augment(x, draws), found)


def test_every_tensor_is_on_the_device_of_the_images():
    x = torch.empty(5, 3, 9, 8, device="meta")
    for augment in SETTINGS:
        assert augment(x, draws_of(augment, 5)).device.type == "meta"
    mixed, targets = EVERYTHING.mix(x, torch.empty(5, dtype=torch.int64, device="meta"), draws_of(EVERYTHING, 5), 10)
    assert (mixed.shape, targets.shape) == (x.shape, (5, 10))


def check_compiled(augment, backend):
    x, draws = torch.randn(6, 3, 9, 8), draws_of(augment, 6)
    torch._dynamo.reset()
    compiled = torch.compile(augment, fullgraph=True, backend=backend)
    assert relative(compiled(x, draws), augment(x, draws)) < 1e-5
    last = x.to(memory_format=torch.channels_last)
    assert relative(compiled(last, draws), augment(x, draws)) < 1e-5


@pytest.mark.filterwarnings("default")  # the compiler warns about itself
@pytest.mark.parametrize("augment", [Augment(), SETTINGS[4], EVERYTHING], ids=str)
def test_compiles_whole(augment):
    check_compiled(augment, "aot_eager")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("augment", [SETTINGS[4], EVERYTHING], ids=str)
def test_inductor_gives_the_same(augment):
    check_compiled(augment, "inductor")


# errors


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"crop": -1}, "crop must be a whole number of pixels >= 0, received -1"),
        ({"crop": 1.5}, "crop must be a whole number"),
        ({"cutout": True}, "cutout must be a whole number"),
        ({"cutout": -8}, "cutout must be a whole number of pixels >= 0, received -8"),
        ({"flip": 1}, "flip must be True or False, received 1"),
        ({"rotate": -5.0}, "0 to 180 degrees, received -5.0"),
        ({"rotate": 181}, "0 to 180 degrees, received 181"),
        ({"rotate": math.nan}, "0 to 180 degrees, received nan"),
        ({"mixup": -0.1}, "finite alpha >= 0, received -0.1"),
        ({"mixup": math.inf}, "finite alpha >= 0, received inf"),
        ({"mixup": math.nan}, "finite alpha >= 0, received nan"),
    ],
)
def test_values_that_cannot_be(values, match):
    with pytest.raises(ValueError, match=match):
        Augment(**values)


@pytest.mark.parametrize(
    ("augment", "x", "draws", "match"),
    [
        (Augment(crop=1), torch.zeros(2, 1, 5, 5, 5), torch.zeros(2, DRAWS), "volumes are not augmented"),
        (Augment(crop=1), torch.zeros(2, 5, 5), torch.zeros(2, DRAWS), "expected images .n, channels, height, width"),
        (Augment(crop=1), torch.zeros(2, 1, 5, 5, dtype=torch.uint8), torch.zeros(2, DRAWS), "standardise them"),
        (Augment(crop=1), torch.zeros(2, 1, 5, 5), torch.zeros(3, DRAWS), r"expected draws \(2, 7\), received \(3, 7"),
        (Augment(), torch.zeros(2, 1, 5, 5), torch.zeros(2, 6), r"expected draws \(2, 7\), received \(2, 6"),
        (Augment(crop=5), torch.zeros(2, 1, 5, 9), torch.zeros(2, DRAWS), "expected crop < 5 and cutout < 9"),
        (Augment(cutout=9), torch.zeros(2, 1, 5, 9), torch.zeros(2, DRAWS), "can leave nothing of images of 5 x 9"),
    ],
)
def test_inputs_that_do_not_fit(augment, x, draws, match):
    with pytest.raises(ValueError, match=match):
        augment(x, draws)


def test_labels_that_do_not_fit():
    augment, x = Augment(mixup=0.2), torch.zeros(4, 1, 5, 5)
    draws = draws_of(augment, 4)
    for y in (torch.zeros(3, dtype=torch.int64), torch.zeros(4, 10), torch.zeros(4)):
        with pytest.raises(ValueError, match="expected 4 labels, whole numbers"):
            augment.mix(x, y, draws, 10)
    with pytest.raises(ValueError, match="volumes are not augmented"):
        augment.mix(x[..., None], torch.zeros(4, dtype=torch.int64), draws, 10)
    with pytest.raises(RuntimeError, match="Class values must be smaller"):
        augment.mix(x, torch.full((4,), 10), draws, 10)
