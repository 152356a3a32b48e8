import numpy as np
import pytest
import torch
from conftest import relative

import pdoconv as pdo
from pdoconv.models.mnist_small import AUTHORS_NAMES, from_authors


@pytest.fixture
def authors(oracle):
    arrays = oracle("authors_mnist_small_net")
    net = pdo.models.mnist_small(dropout=0.0)
    net.load_state_dict(from_authors(arrays))
    return net, arrays, torch.as_tensor(arrays["x"].transpose(0, 3, 1, 2), dtype=torch.float32)


def test_parameters():
    assert sum(p.numel() for p in pdo.models.mnist_small().parameters()) == 26_747


def test_logits_equal_the_authors(authors):
    net, arrays, x = authors
    assert relative(net.eval()(x), arrays["logits_eval"]) < 1e-4
    assert relative(net.train()(x), arrays["logits_train"]) < 1e-4


def test_gradients_equal_the_authors(authors):
    """Cross-entropy plus L2 of 1e-2 / 2 on convolution and classifier weights, in train mode."""
    net, arrays, x = authors
    net.train()
    loss = torch.nn.functional.cross_entropy(net(x), torch.as_tensor(arrays["y"]))
    assert abs(loss.item() - arrays["loss_train"]) < 1e-4 or arrays["loss_train"] > loss.item()
    loss = loss + 0.5e-2 * sum((p**2).sum() for p in net.parameters() if p.dim() > 1)
    assert abs(loss.item() / arrays["loss_train"] - 1) < 1e-4
    loss.backward()
    renamed = {k.removeprefix("grad."): v for k, v in arrays.items() if k.startswith("grad.")}
    for number, name in enumerate(AUTHORS_NAMES, start=1):  # gradients have no statistics: fill in
        for statistic in ("mm", "mv"):
            renamed[f"{name}.BatchNorm_{number}.{statistic}"] = np.zeros(7)
    theirs = from_authors(renamed)
    for name, parameter in net.named_parameters():
        assert relative(parameter.grad, theirs[name]) < 1e-3, name


def test_negative_control(authors):
    """Weights shifted by one group element give other logits."""
    net, arrays, x = authors
    net[4].weight.data = net[4].weight.data.roll(1, dims=2)
    assert relative(net.eval()(x), arrays["logits_eval"]) > 1e-2


def test_missing_variable(oracle):
    arrays = oracle("authors_mnist_small_net")
    del arrays["fc.weights"]
    with pytest.raises(ValueError, match=r"'fc.weights' is missing"):
        from_authors(arrays)
