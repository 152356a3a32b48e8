"""Published residual networks for CIFAR: those of PDO-eConv, and the rows that it is compared with.

All are `PreActResNet`s and take its arguments instead of the published ones: `layout="symmetric"` makes quarter turns
exact end to end, `group=`, `filters=` and `widths=` make another network. Errors are quoted as published, on CIFAR-10
and CIFAR-100, augmented by crops and flips unless told otherwise.
"""

from typing import Any

from pdoconv.filters import paper, rotated
from pdoconv.groups import Group
from pdoconv.models.resnet import PreActResNet
from pdoconv.pointgroups import cyclic, dihedral


def pdo_resnet44_p8(**config: Any) -> PreActResNet:
    """Return the PDO-eConv ResNet-44 with p8 (Shen et al., 2020): standardised images `(batch, 3, 32, 32)` to logits.

    Published error: 3.68% and 20.01%, the best epoch on the test set.

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in pdo_resnet44_p8().parameters())
    2621693
    """
    return _pdo(cyclic(8), (11, 23, 45), 7, config)


def pdo_resnet26_p6(**config: Any) -> PreActResNet:
    """Return the PDO-eConv ResNet-26 with p6; the widths were not published and fit the 0.36M parameters best.

    Published error: 5.65% and 27.13%.

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in pdo_resnet26_p6().parameters())
    362386
    """
    return _pdo(cyclic(6), (6, 13, 26), 4, config)


def pdo_resnet26_p6m(**config: Any) -> PreActResNet:
    """Return the PDO-eConv ResNet-26 with p6m; the widths were not published and fit the 0.37M parameters.

    Published error: 5.38% and 27.00%.

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in pdo_resnet26_p6m().parameters())
    372587
    """
    return _pdo(dihedral(6), (5, 10, 18), 4, config)


def pdo_wrn26_p8(**config: Any) -> PreActResNet:
    """Return the wide PDO-eConv ResNet-26 with p8: as many channels as WRN-26-10, an eighth of its parameters.

    Published error: 3.50% and 18.40%; the first width and dropout were not published.

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in pdo_wrn26_p8().parameters())
    4591630
    """
    return _pdo(cyclic(8), (20, 40, 80), 4, config)


def z2_resnet26(**config: Any) -> PreActResNet:
    """Return the ordinary ResNet-26 of about the parameters of the p6 and p6m networks.

    Published error: 11.50% and 31.66% (Hoogeboom et al., 2018, without augmentation, as quoted by Shen et al., 2020).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in z2_resnet26().parameters())
    369498
    """
    published = {"widths": (16, 32, 64), "units": 4, "filters": rotated(), "kernel_size": 3, "eps": 1e-5}
    return PreActResNet(**{"group": cyclic(1), **published, **config})


def z2_resnet44(**config: Any) -> PreActResNet:
    """Return the ordinary ResNet-44 of about the parameters of the p8 network.

    Published error: 5.61% and 24.08% (Cohen & Welling, 2016, as quoted by Shen et al., 2020).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in z2_resnet44().parameters())
    2636074
    """
    return z2_resnet26(**{"widths": (32, 64, 128), "units": 7, **config})


def gcnn_resnet44_p4m(**config: Any) -> PreActResNet:
    """Return the G-CNN ResNet-44 with p4m (Cohen & Welling, 2016): standardised images `(batch, 3, 32, 32)` to logits.

    Published error on CIFAR-10: 6.46% without and 4.94% with augmentation; Z2, widths 32, 64, 128: 9.45% and 5.61%
    (README of the authors' gconv_experiments).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones.

    >>> sum(p.numel() for p in gcnn_resnet44_p4m().parameters())
    2622878
    """
    published = {"widths": (11, 23, 45), "units": 7, "filters": rotated(), "kernel_size": 3, "bias": True, "eps": 1e-5}
    return PreActResNet(**{"group": dihedral(4), **published, **config})


def wrn_28_10(**config: Any) -> PreActResNet:
    """Return the wide residual network WRN-28-10 (Zagoruyko & Komodakis, 2016): `(batch, 3, 32, 32)` to logits.

    Published error on CIFAR-10 with augmentation: 4.00%, with dropout=0.3 3.89% (README of the authors'
    wide-residual-networks, median of 5 runs, images standardised by channel).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones; `group=` and `filters=` make it another.

    >>> sum(p.numel() for p in wrn_28_10().parameters())
    36479194
    """
    return z2_resnet26(**{"widths": (160, 320, 640), "first": 16, **config})


def resnet_1001(**config: Any) -> PreActResNet:
    """Return the pre-activation ResNet-1001 (He et al., 2016): standardised images `(batch, 3, 32, 32)` to logits.

    Units of three convolutions, 111 a stage; `units=18` is ResNet-164. Published error on CIFAR-10 with augmentation:
    4.92%, of ResNet-164 5.46% (README of wide-residual-networks).

    Args:
        **config: Arguments of `PreActResNet` instead of the published ones; `group=` and `filters=` make it another.

    >>> sum(p.numel() for p in resnet_1001(units=18).parameters())
    1703258
    """
    return z2_resnet26(**{"widths": (64, 128, 256), "units": 111, "first": 16, "bottleneck": True, **config})


def _pdo(group: Group, widths: tuple[int, int, int], units: int, config: dict[str, Any]) -> PreActResNet:
    published = {"widths": widths, "units": units, "filters": paper(), "init": "authors"}
    return PreActResNet(**{"group": group, **published, **config})
