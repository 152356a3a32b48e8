"""Scenes with digits: what is drawn where, in which orientation, and that nothing depends on chance."""

import numpy as np
import pytest
import torch
from conftest import relative

from pdoconv.data import digit_scenes
from pdoconv.data.digit_scenes import CELL, CLASSES, DARK, SIZE, WOBBLE
from pdoconv.grid import move
from pdoconv.groups import rotation


@pytest.fixture(scope="module")
def scenes():
    return digit_scenes(24, seed=5)


def test_what_is_in_a_scene(scenes):
    images, labels = scenes.upright()
    assert images.shape == labels.shape == (24, SIZE, SIZE)
    assert images.dtype == labels.dtype == np.uint8
    assert len(CLASSES) == 10
    assert set(np.unique(labels)) == set(range(10))
    assert (images[labels > 0] > 255 * 0.6).mean() > 0.5  # ink is bright
    assert scenes.backgrounds.max() <= DARK
    for s in range(24):  # at most one digit a quarter, and the pixels are of its class alone
        own = scenes.scene == s
        quarters = scenes.corner[own] // CELL
        assert len({tuple(q) for q in quarters}) == own.sum() <= 4
        for (row, column), label in zip(quarters, scenes.labels[own], strict=True):
            part = labels[s, row * CELL :, column * CELL :][:CELL, :CELL]
            assert set(np.unique(part)) == {0, label}
        assert (labels[s] > 0).any() == own.any()
    assert 0.6 < len(scenes.scene) / (4 * 24) < 0.9


def test_the_same_for_the_same_arguments(scenes):
    again = digit_scenes(24, seed=5)
    assert again.upright().fingerprint == scenes.upright().fingerprint
    assert again.turned().fingerprint == scenes.turned().fingerprint == "71ea29bc0cefb0a8"
    prints = [scenes.turned(1), scenes.upright(), digit_scenes(24, seed=6).turned(), digit_scenes(24, source="test")]
    prints = [part.turned() if hasattr(part, "turned") else part for part in prints]
    assert len({p.fingerprint for p in prints} | {scenes.turned().fingerprint}) == 5
    fewer = digit_scenes(8, seed=5)
    assert np.array_equal(fewer.backgrounds, scenes.backgrounds[:8])


def test_digits_turn_and_backgrounds_stay(scenes):
    """A quarter turn more only rearranges each digit's own pixels; what lies behind is as before."""
    still = scenes.draw(np.zeros(len(scenes.digits)))
    quarter = scenes.draw(np.full(len(scenes.digits), np.pi / 2))
    for k, (s, (row, column)) in enumerate(zip(scenes.scene, scenes.corner, strict=True)):
        place = (s, slice(row, row + 28), slice(column, column + 28))
        assert np.array_equal(quarter.labels[place], np.rot90(still.labels[place])), k
        assert not np.array_equal(quarter.labels[place], np.rot90(still.labels[place], -1))  # negative control
        assert np.array_equal(still.labels[place] > 0, scenes.digits[k] / 255 >= 0.5)
    behind = np.ones_like(still.images, dtype=bool)
    for s, (row, column) in zip(scenes.scene, scenes.corner, strict=True):
        behind[s, row : row + 28, column : column + 28] = False
    assert np.array_equal(still.images[behind], quarter.images[behind])
    assert np.array_equal(still.images[behind], np.rint(255 * scenes.backgrounds[behind]).astype(np.uint8))


def test_upright_and_turned(scenes):
    assert np.abs(np.degrees(scenes.wobble)).max() <= WOBBLE
    assert np.degrees(scenes.wobble).std() > 3
    again = scenes.draw(scenes.wobble + np.radians(30))
    assert scenes.upright(30).fingerprint == again.fingerprint
    for sign in (1, -1):  # counter-clockwise as displayed
        turned = scenes.draw(np.full(len(scenes.digits), np.radians(30 * sign)))
        k, (row, column) = 0, scenes.corner[0]
        found = turned.labels[scenes.scene[0], row : row + 28, column : column + 28] > 0
        wanted = move(torch.tensor(scenes.digits[k] / 255)[None, None], rotation(np.radians(30)))[0, 0] >= 0.5
        assert (relative(found.astype(float), wanted.double()) == 0) == (sign == 1)


def test_six_and_nine_are_one_class_and_sources_differ():
    many = digit_scenes(40, source="test")
    counts = np.bincount(many.labels, minlength=10)
    assert counts[0] == 0
    assert counts[7] > 1.3 * counts[[1, 2, 3, 4, 5, 6, 8, 9]].mean()
    train = digit_scenes(20)
    assert not any((many.digits == digit).all((1, 2)).any() for digit in train.digits[:40])


@pytest.mark.parametrize("options", [{"samples": 0}, {"samples": 3, "seed": -1}, {"samples": 3, "source": "all"}])
def test_bad_arguments(options):
    with pytest.raises(ValueError, match="expected samples >= 1, seed >= 0 and source one of"):
        digit_scenes(**options)


def test_missing_data(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks mnist\.npz"):
        digit_scenes(1, root=tmp_path)
    (tmp_path / "mnist.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not the expected file"):
        digit_scenes(1, root=tmp_path)
