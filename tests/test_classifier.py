"""The classifier's module: rates at every step, what decays, the average of weights, the loss of mixed labels."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import relative
from lightning.pytorch import Callback, Trainer
from torch import nn

import pdoconv as pdo
from pdoconv.data import Split
from pdoconv.recipes import Recipe
from pdoconv.training.classifier import Classifier, moving_average, tenths, warm_cosine
from pdoconv.training.images import ImageData

pytestmark = pytest.mark.filterwarnings("default")
C4 = pdo.cyclic(4)


@dataclass(frozen=True)
class Tiny(Recipe):
    """Eight by eight pixels."""

    epochs: int = 2
    batch_size: int = 8
    label_smoothing: float = 0.0
    precision: str = "32-true"

    classes = 4
    image_shape = (8, 8)
    title = "tiny"

    def network(self):
        hidden = C4.regular(2)
        return pdo.Sequential(
            pdo.PDOConv2d(C4.trivial(1), hidden, 3, padding=1),
            pdo.BatchNorm2d(hidden),
            nn.ReLU(),
            pdo.GroupPool(hidden),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(2, 4),
        )

    def data(self):
        raise NotImplementedError


def images(settings, n=40):
    rng = np.random.default_rng(0)
    data = Split(rng.integers(0, 256, (n, 8, 8), dtype=np.uint8), (np.arange(n) % 4).astype(np.uint8))
    return ImageData(data, data, None, batch_size=settings.batch_size, classes=4, augment=settings.augment())


class Watch(Callback):
    """What the optimiser and the weights are at every step."""

    def __init__(self):
        self.rates, self.states, self.valid = [], [], []

    def on_train_batch_start(self, trainer, model, batch, batch_idx):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        self.states.append({key: value.clone() for key, value in model.net.state_dict().items()})

    def on_validation_epoch_end(self, trainer, model):
        self.valid.append(float(trainer.callback_metrics["valid_loss"]))


def fit(settings, **options):
    """Train on 40 images, 5 steps an epoch; return the module and what was seen."""
    torch.manual_seed(0)
    model, watch = Classifier(settings.network(), settings, 5 * settings.epochs), Watch()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    quiet |= {"enable_progress_bar": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
    trainer = Trainer(accelerator="cpu", max_epochs=settings.epochs, callbacks=[watch], **quiet, **options)
    trainer.fit(model, images(settings))
    return model, watch


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_rates_of_the_authors_schedule(optimizer):
    """300 epochs: a tenth after 150 and after 225; here 8 epochs of 5 steps."""
    _, watch = fit(Tiny(epochs=8, lr=0.1, schedule="steps", optimizer=optimizer))
    expected = [0.1] * 20 + [0.01] * 10 + [0.001] * 10
    assert np.allclose(watch.rates, np.array(expected)[:, None], rtol=1e-12)


def test_rates_of_warm_up_and_cosine():
    _, watch = fit(Tiny(epochs=4, lr=0.2, schedule="cosine", warmup=0.25))
    steps = np.arange(20)
    expected = np.where(steps < 5, steps / 5, 0.5 + 0.5 * np.cos(np.pi * (steps - 5) / 15))
    assert np.allclose(watch.rates, 0.2 * expected[:, None], atol=1e-12)
    assert np.argmax(np.array(watch.rates)[:, 0]) == 5


def test_rates_of_one_cycle():
    _, watch = fit(Tiny(epochs=4, lr=0.2, warmup=0.3))
    rates = np.array(watch.rates)[:, 0]
    assert np.isclose(rates.max(), 0.2)
    assert np.argmax(rates) == 5
    assert np.isclose(rates[0], 0.2 / 25)
    assert rates[-1] < 1e-4


def test_schedules_are_functions_of_the_share():
    share = np.linspace(0, 1, 1001)[:-1]
    assert [tenths(s, 0.1) for s in share] == [1.0] * 500 + [0.1] * 250 + [0.01] * 250
    cosine = np.array([warm_cosine(s, 0.1) for s in share])
    assert np.isclose(cosine.max(), 1)
    assert (np.diff(cosine[:101]) > 0).all()
    assert (np.diff(cosine[101:]) < 0).all()
    assert np.abs(np.diff(cosine)).max() < 0.011  # no jump
    assert tenths(0.5 - 1e-9, 0.3) == 1.0


@pytest.mark.parametrize(("optimizer", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_weights_decay_but_norms_and_biases_do_not(optimizer, kind):
    settings = Tiny(weight_decay=0.3, optimizer=optimizer)
    net = settings.network()
    found = Classifier(net, settings, 10).configure_optimizers()["optimizer"]
    assert type(found) is kind
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = {g["weight_decay"]: sorted(names[id(p)] for p in g["params"]) for g in found.param_groups}
    assert groups == {0.3: ["0.weight", "6.weight"], 0.0: ["0.bias", "1.bias", "1.weight", "6.bias"]}
    if optimizer == "sgd":
        assert all(group["nesterov"] and group["momentum"] == 0.9 for group in found.param_groups)


def test_sgd_steps_against_a_slow_loop():
    """Nesterov momentum 0.9 and coupled decay: v = 0.9 v + g + d w, w = w - r (g + d w + 0.9 v)."""
    settings = Tiny(optimizer="sgd", lr=0.1, weight_decay=0.02, schedule="steps", epochs=1)
    torch.manual_seed(0)
    reference = settings.network()
    model, watch = fit(settings)
    data = images(settings)
    velocity = [torch.zeros_like(p) for p in reference.parameters()]
    reference.train()
    loader = data.train_dataloader()
    for step, batch in enumerate(loader):
        x, y = data.on_after_batch_transfer(batch, 0)
        reference.zero_grad()
        F.cross_entropy(reference(x), y).backward()
        with torch.no_grad():
            for p, v in zip(reference.parameters(), velocity, strict=True):
                g = p.grad + (0.02 * p if p.dim() > 1 else 0)
                v.mul_(0.9).add_(g)
                p.sub_(tenths(step / 5, 0) * 0.1 * (g + 0.9 * v))
    for name, parameter in reference.named_parameters():
        assert torch.allclose(model.net.get_parameter(name), parameter, rtol=1e-4, atol=1e-6), name
        assert name == "0.bias" or not torch.allclose(watch.states[0][name], parameter, rtol=1e-2, atol=1e-6)


def test_moving_average_against_a_slow_loop():
    decay, rng = 0.9, np.random.default_rng(0)
    average, step = [torch.zeros(3), torch.tensor(0)], moving_average(decay)
    expected = np.zeros(3)
    for count in range(30):
        now = rng.standard_normal(3)
        step(average, [torch.tensor(now, dtype=torch.float32), torch.tensor(count + 1)], count)
        kept = min(decay, (1 + count) / (10 + count))
        expected = kept * expected + (1 - kept) * now
        assert average[1] == count + 1  # numbers that are counted are not averaged
    assert np.allclose(average[0].numpy(), expected, atol=1e-6)


def test_average_of_weights_follows_the_run():
    """The first step copies, the next move; statistics of BatchNorm too. It is what is validated and kept."""
    settings = Tiny(epochs=4, ema=0.6, lr=0.05)
    model, watch = fit(settings)
    expected = {key: value.double() for key, value in watch.states[0].items()}
    for count, state in enumerate(watch.states[1:], start=1):
        kept = min(0.6, (1 + count) / (10 + count))
        expected = {key: kept * value + (1 - kept) * state[key].double() for key, value in expected.items()}
    found, last = model.best.state_dict(), model.net.state_dict()
    assert model.best is not model.net
    for key, value in expected.items():
        if key.endswith("num_batches_tracked"):
            assert found[key] == 20
            continue
        assert relative(found[key], value) < 1e-5, key
        assert relative(found[key], last[key]) > 1e-4, key  # negative control: not the last weights
    data = images(settings)
    (loader,) = data.val_dataloader()
    x, y = data.on_after_batch_transfer(next(iter(loader)), 0)
    losses = [F.cross_entropy(net.eval()(x), y).item() for net in (model.best, model.net)]
    assert math.isclose(watch.valid[-1], losses[0], rel_tol=1e-4)
    assert not math.isclose(losses[0], losses[1], rel_tol=1e-4)


def test_average_does_not_change_the_training():
    plain, _ = fit(Tiny(lr=0.05))
    averaged, _ = fit(Tiny(lr=0.05, ema=0.9))
    assert plain.best is plain.net
    assert all(map(torch.equal, plain.net.state_dict().values(), averaged.net.state_dict().values()))


def test_average_goes_on_from_a_checkpoint():
    model, _ = fit(Tiny(ema=0.9))
    fresh = Classifier(model.settings.network(), model.settings, 10)
    fresh.load_state_dict(model.state_dict())
    assert fresh.average.n_averaged == 10
    assert all(map(torch.equal, fresh.best.state_dict().values(), model.best.state_dict().values()))


class Constant(nn.Module):
    """Logits that do not depend on the images."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 1.0, 0.0, -1.0]))

    def forward(self, x):
        return self.logits.expand(len(x), 4)


def loss_and_accuracy(y, monkeypatch, **settings):
    model = Classifier(Constant(), Tiny(**settings), 10)
    logged = {}
    monkeypatch.setattr(model, "log", lambda name, value, **kwargs: logged.update({name: value}))
    batch = torch.zeros(len(y), 1, 8, 8), y
    loss = model._step(batch, model.net, "train", model.settings.label_smoothing).item()
    assert math.isclose(float(logged["train_loss"].compute()), loss, rel_tol=1e-6)
    return loss, float(logged["train_accuracy"].compute())


def test_label_smoothing_and_mixed_labels(monkeypatch):
    """Cross-entropy with the probabilities of the classes; smoothing moves a share of them to all classes."""
    log = torch.log_softmax(Constant().logits.detach(), 0)
    labels = torch.tensor([0, 1])
    plain, accuracy = loss_and_accuracy(labels, monkeypatch)
    assert math.isclose(plain, float(-(log[0] + log[1]) / 2), rel_tol=1e-6)
    assert accuracy == 0.5
    smooth, _ = loss_and_accuracy(labels, monkeypatch, label_smoothing=0.2)
    assert math.isclose(smooth, 0.8 * plain + 0.2 * float(-log.mean()), rel_tol=1e-6)
    mixed = torch.tensor([[0.7, 0.3, 0, 0], [0.4, 0.6, 0, 0], [0.5, 0, 0.5, 0]])
    loss, accuracy = loss_and_accuracy(mixed, monkeypatch)
    assert math.isclose(loss, float(-(mixed @ log).mean()), rel_tol=1e-6)
    assert math.isclose(accuracy, 2 / 3, rel_tol=1e-6)  # of the larger share
    both, _ = loss_and_accuracy(mixed, monkeypatch, label_smoothing=0.2)
    assert math.isclose(both, 0.8 * loss + 0.2 * float(-log.mean()), rel_tol=1e-6)


def test_smoothing_is_of_the_training_loss_alone():
    settings = Tiny(label_smoothing=0.5, epochs=1)
    model, watch = fit(settings)
    data = images(settings)
    x, y = data.on_after_batch_transfer(next(iter(data.val_dataloader()[0])), 0)
    assert math.isclose(watch.valid[-1], F.cross_entropy(model.net.eval()(x), y).item(), rel_tol=1e-4)


def test_mixup_trains():
    model, watch = fit(Tiny(mixup=0.5, crop=1, flip=True, epochs=2, lr=0.05))
    assert all(torch.isfinite(p).all() for p in model.net.parameters())
    other, _ = fit(Tiny(crop=1, flip=True, epochs=2, lr=0.05))
    assert not torch.equal(model.net[6].weight, other.net[6].weight)
    assert len(watch.states) == 10


def test_steps_depend_on_the_seed_and_the_step_alone():
    """Dropout too: a run in two pieces draws the same."""

    class Dropped(Tiny):
        def network(self):
            return nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(64, 4))

    runs = [fit(Dropped(seed=seed))[0].net[2].weight for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    assert replace(Dropped(), seed=3).seed == 3
