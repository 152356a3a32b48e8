"""Batches in memory: every image once an epoch, shares of devices, resuming in mid-epoch, standardised channels."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pdoconv.data import Augment, Split
from pdoconv.training.batches import OrderedBatches, TrainingBatches, share
from pdoconv.training.images import ImageData

SHAPES = {"gray": (6, 5), "colour": (3, 6, 5), "volumes": (4, 6, 5)}


def split(n, *shape, dtype=np.uint8, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, np.iinfo(dtype).max, (n, *shape), dtype=dtype, endpoint=True)
    images.reshape(n, -1)[:, 0] = np.arange(n)  # its number
    return Split(images, (np.arange(n) % classes).astype(np.uint8))


def numbers(batches):
    return [batch[0].flatten(1)[:, 0].tolist() for batch in batches]


def flat(batches):
    return [number for batch in numbers(batches) for number in batch]


def epoch(loader, number):
    loader.sampler.set_epoch(number)
    return list(loader)


def test_each_image_once_an_epoch():
    loader = TrainingBatches(split(24, 6, 5), 6, seed=3)
    assert len(loader) == 4
    first, second = (flat(epoch(loader, e)) for e in (0, 1))
    for order in (first, second):
        assert sorted(order) == list(range(24))
        assert order != list(range(24))
    assert first != second
    assert flat(epoch(loader, 0)) == first  # it depends on seed and epoch alone
    assert flat(epoch(TrainingBatches(loader.split, 6, seed=4), 0)) != first


def test_a_last_smaller_batch_is_left_out():
    loader = TrainingBatches(split(23, 6, 5), 6)
    seen = [flat(epoch(loader, e)) for e in range(20)]
    assert all(len(set(order)) == len(order) == 18 for order in seen)
    assert set().union(*seen) == set(range(23))  # but not always the same images


def test_labels_belong_to_the_images():
    data = split(24, 6, 5)
    for images, labels in [*TrainingBatches(data, 6), *OrderedBatches(data, 7)]:
        assert labels.dtype == torch.int64
        assert torch.equal(labels, images.flatten(1)[:, 0].long() % 10)


@pytest.mark.parametrize("replicas", [2, 3])
def test_shares_of_devices_are_the_batch_of_one(replicas):
    augment = Augment(crop=1, flip=True, cutout=2)
    data = split(24, 6, 5)
    whole = epoch(TrainingBatches(data, 6, seed=1, augment=augment), 2)
    own = {"seed": 1, "augment": augment, "replicas": replicas}
    shares = [epoch(TrainingBatches(data, 6, rank=rank, **own), 2) for rank in range(replicas)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert all(len(part[0]) == 6 // replicas for part in parts)
        for place, values in enumerate(batch):  # images, labels, draws
            for rank, part in enumerate(parts):
                assert torch.equal(values[share(6, replicas, rank)], part[place])
    seen = [set(flat(share)) for share in shares]
    assert len(set.union(*seen)) == sum(map(len, seen)) == 24  # disjoint


@pytest.mark.parametrize("own", [share, lambda batch, replicas, rank: np.arange(rank, batch, replicas)])
def test_mixed_pairs_are_on_one_device(own):
    """Negative control: every second image, whose partners are elsewhere."""
    augment, rng = Augment(mixup=0.3), np.random.default_rng(0)
    x, y, draws = torch.rand(12, 1, 4, 4), torch.arange(12) % 10, augment.draw(rng, 12)
    whole = augment.mix(x, y, draws, 10)
    for rank in range(3):
        place = torch.from_numpy(own(12, 3, rank))
        mixed = augment.mix(x[place], y[place], draws[place], 10)
        right = all(torch.equal(values[place], parts) for values, parts in zip(whole, mixed, strict=True))
        assert right == (own is share or rank == 1)


def test_batch_that_cannot_be_shared():
    for mixup, batch, message in ((0.0, 9, "a multiple of 2, received 9"), (0.3, 6, "a multiple of 4 with mixup, rec")):
        images = ImageData(split(48, 6, 5), None, None, batch_size=batch, augment=Augment(mixup=mixup))
        with pytest.raises(ValueError, match=message):
            images.require_shares(2)
        images.require_shares(1)


def test_shares_of_ordered_batches():
    """Of any number of images: no image is counted twice, none left out."""
    data = split(23, 6, 5)
    shares = [OrderedBatches(data, 4, replicas=3, rank=rank) for rank in range(3)]
    assert sorted(number for share in shares for number in flat(share)) == list(range(23))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares] == [2, 2, 2]
    assert numbers(OrderedBatches(data, 10)) == [list(range(10)), list(range(10, 20)), [20, 21, 22]]


def test_going_on_in_mid_epoch():
    augment = Augment(rotate=30.0)
    whole = [epoch(TrainingBatches(split(24, 6, 5), 6, augment=augment), e) for e in (0, 1)]

    def fresh():
        return TrainingBatches(split(24, 6, 5), 6, augment=augment)

    def same(found, expected):
        pairs = zip(found, expected, strict=True)
        return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))

    loader = fresh()
    rest = iter(loader)
    taken = [next(rest), next(rest)]
    state = loader.state_dict()
    assert state == {"taken": 2}
    assert same(taken + list(rest), whole[0])
    assert loader.state_dict() == {"taken": 0}
    other = fresh()
    other.load_state_dict(state)
    assert same(epoch(other, 0), whole[0][2:])
    assert same(epoch(other, 1), whole[1])  # and the next epoch is whole again
    wrong = fresh()
    wrong.load_state_dict({"taken": 1})
    assert not same(epoch(wrong, 0)[:2], whole[0][2:])  # negative control


def test_draws_come_with_the_images_only_if_something_is_on():
    data = split(12, 6, 5)
    assert all(len(batch) == 2 for batch in TrainingBatches(data, 4))
    batches = list(TrainingBatches(data, 4, augment=Augment(flip=True)))
    assert all(len(batch) == 3 and batch[2].shape == (4, 7) for batch in batches)
    assert not torch.equal(batches[0][2], batches[1][2])
    assert numbers(TrainingBatches(data, 4)) == numbers(batches)  # the order is the same


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", SHAPES)
def test_channels_are_standardised(kind, dtype):
    """Mean and deviation of every channel of the training images alone, as numpy finds them."""
    data, channels = split(40, *SHAPES[kind], dtype=dtype), 3 if kind == "colour" else 1
    other = split(9, *SHAPES[kind], dtype=dtype, seed=1)
    images = ImageData(data, other, other, batch_size=8, channels=channels)
    plain = data.images.astype(np.float64) if channels == 3 else data.images.astype(np.float64)[:, None]
    axes = (0, *range(2, plain.ndim))
    assert np.allclose(images.mean, plain.mean(axes), rtol=1e-12)
    assert np.allclose(images.std, plain.std(axes), rtol=1e-12)
    assert len(images.mean) == channels
    shape = (1, channels, *[1] * (plain.ndim - 2))
    expected = (plain - plain.mean(axes).reshape(shape)) / plain.std(axes).reshape(shape)
    for loader in (images.train_dataloader(), images.val_dataloader()[0]):
        for batch in loader:
            x, labels = images.on_after_batch_transfer(batch, 0)
            assert x.dtype == torch.float32
            assert x.shape[1:] == (channels, *SHAPES[kind][-(plain.ndim - 2) :])
            assert labels.dtype == torch.int64
    found = torch.cat([images.standardise(batch[0]) for batch in OrderedBatches(data, 7)])
    assert np.abs(found.numpy() - expected).max() < 1e-5
    whole = (plain - plain.mean()) / plain.std()
    assert channels == 1 or np.abs(found.numpy() - whole).max() > 1e-3  # negative control: one mean for all


def test_statistics_of_many_images_and_of_flat_channels():
    """Summed in parts; a channel that is all the same is divided by 1."""
    data = split(2300, 3, 4, 4)
    data.images[:, 2] = 7
    images = ImageData(data, None, None, batch_size=8, channels=3)
    expected = data.images.astype(np.float64)
    assert np.allclose(images.mean, expected.mean((0, 2, 3)), rtol=1e-12)
    assert np.allclose(images.std[:2], expected.std((0, 2, 3))[:2], rtol=1e-12)
    assert images.std[2] == 1
    assert torch.equal(images.standardise(torch.from_numpy(data.images))[:, 2], torch.zeros(2300, 4, 4))


def test_augmented_on_the_device():
    """Standardised first, so that what comes from outside is the mean colour; validation images stay as they are."""
    augment = Augment(crop=2, flip=True, cutout=3)
    data = split(16, 3, 6, 6)
    images = ImageData(data, data, None, batch_size=8, channels=3, augment=augment)
    for batch in images.train_dataloader():
        x, labels = images.on_after_batch_transfer(batch, 0)
        assert torch.equal(x, augment(images.standardise(batch[0]), batch[2]))
        assert not torch.equal(x, images.standardise(batch[0]))
        assert torch.equal(labels, batch[1])
    (valid,) = images.val_dataloader()
    assert all(len(batch) == 2 for batch in valid)


def test_mixed_images_have_two_classes():
    data = split(16, 3, 6, 6, classes=4)
    images = ImageData(data, None, None, batch_size=8, channels=3, classes=4, augment=Augment(mixup=1.0))
    batch = next(iter(images.train_dataloader()))
    x, targets = images.on_after_batch_transfer(batch, 0)
    share, plain = batch[2][:, 6], images.standardise(batch[0])
    assert targets.shape == (8, 4)
    assert torch.allclose(targets.sum(1), torch.ones(8))
    for i in range(8):
        one, other = batch[1][i], batch[1][7 - i]
        expected = torch.zeros(4)
        expected[one] += share[i]
        expected[other] += 1 - share[i]
        assert torch.allclose(targets[i], expected)
        assert torch.allclose(x[i], share[i] * plain[i] + (1 - share[i]) * plain[7 - i], atol=1e-6)


def test_splits_and_devices():
    data, few = split(16, 6, 5), split(5, 6, 5)
    images = ImageData(data, None, few, batch_size=8)
    assert images.val_dataloader() == []
    assert images.use_for_test("valid") == 0
    assert images.use_for_test("test") == 5
    assert flat(images.test_dataloader()[0]) == list(range(5))
    images.trainer = SimpleNamespace(world_size=2, global_rank=1)
    assert images.train_dataloader().own.tolist() == share(8, 2, 1).tolist()
    assert flat(images.test_dataloader()[0]) == [1, 3]
    images.trainer = SimpleNamespace(world_size=3, global_rank=0)
    with pytest.raises(ValueError, match="batch_size is over all devices: expected a multiple of 3, received 8"):
        images.require_shares(3)


def test_bad_images():
    good = split(16, 3, 6, 5)
    for images, channels, message in (
        (good.images, 1, None),  # volumes
        (good.images[:, 0], 3, r"train: expected images \(n, 3, height, width\) and n labels, received \(16, 6, 5\)"),
        (good.images, 4, r"expected images \(n, 4, height, width\)"),
        (good.images[:, 0, 0], 1, r"expected images \(n, height, width\) or volumes .* received \(16, 5\)"),
        (good.images[:-1], 3, r"n labels, received \(15, 3, 6, 5\) and \(16,\)"),
        (good.images[:4], 3, "at least one batch of 8 images, received 4: give a smaller batch_size"),
    ):
        if message is None:
            ImageData(Split(images, good.labels), None, None, batch_size=8, channels=channels)
            continue
        with pytest.raises(ValueError, match=message):
            ImageData(Split(images, good.labels), None, None, batch_size=8, channels=channels)
    with pytest.raises(ValueError, match="test: images or labels hold values that are not finite"):
        ImageData(good, None, Split(np.full((2, 3, 6, 5), np.nan), good.labels[:2]), batch_size=8, channels=3)
