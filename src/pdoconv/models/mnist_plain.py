"""The plain CNN beside the small network for MNIST-rot: the same layers with ordinary 5x5 convolutions."""

from torch import nn


def mnist_plain(*, classes: int = 10, channels: int = 14, dropout: float = 0.2) -> nn.Sequential:
    """Return the network: standardised images `(batch, 1, 28, 28)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        channels: Channels of every layer.
        dropout: Probability of the elementwise dropout.

    >>> sum(p.numel() for p in mnist_plain().parameters())
    27258
    """
    layers: list[nn.Module] = []
    for number in range(1, 7):
        conv = nn.Conv2d(1 if number == 1 else channels, channels, 5, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm2d(channels, eps=1e-3), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if number == 2 else [nn.Dropout(dropout)]
    classifier = nn.Conv2d(channels, classes, 4, bias=False)
    nn.init.xavier_uniform_(classifier.weight)
    return nn.Sequential(*layers, classifier, nn.Flatten())
