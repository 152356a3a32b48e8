"""Rotated pixels: the layers of G-CNN (Cohen & Welling, 2016), against numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import WrongRoll, relative
from torch import nn

import pdoconv as pdo
from pdoconv.filters import rotated

C4, D4 = pdo.cyclic(4), pdo.dihedral(4)


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def conv(in_type, out_type, size=3, *, kind=pdo.GroupConv2d, **options):
    options = {"padding": size // 2, "bias": False} | options
    layer = kind(in_type, out_type, size, filters=rotated(), **options).double()
    if layer.bias is not None:
        layer.bias.data.normal_()
    return layer


def whole_numbers(layer):
    layer.weight.data = torch.randint(-9, 10, layer.weight.shape).double()
    return layer.weight.data.view(*layer.weight.shape[:3], layer.kernel_size, layer.kernel_size).numpy()


def moved(taps, g):
    """Element g = 4 s + k: flip upside down if s, then k quarter turns."""
    return np.rot90(taps[::-1] if g >= 4 else taps, g % 4)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_p4_bank_is_rolled_and_turned(size):
    """The sheet's formula: bank[:, s] = rot90(roll(W, s, group axis), s)."""
    layer = conv(C4.regular(2), C4.regular(3), size)
    w = whole_numbers(layer)  # (out, in, r, size, size)
    bank = layer.kernel().detach().numpy().reshape(3, 4, 2, 4, size, size)
    for s in range(4):
        assert np.array_equal(bank[:, s], np.rot90(np.roll(w, s, axis=2), s, (-2, -1)))
        if size > 1 and s % 2:
            assert not np.array_equal(bank[:, s], np.rot90(np.roll(w, -s, axis=2), s, (-2, -1)))
            assert not np.array_equal(bank[:, s], np.rot90(np.roll(w, s, axis=2), -s, (-2, -1)))
    lift = conv(C4.trivial(2), C4.regular(3), size)
    w = whole_numbers(lift)[:, :, 0]
    bank = lift.kernel().detach().numpy().reshape(3, 4, 2, size, size)
    for s in range(4):
        assert np.array_equal(bank[:, s], np.rot90(w, s, (-2, -1)))


@pytest.mark.parametrize("size", [3, 4])
def test_p4m_bank_follows_the_table_of_d4(size):
    """In the layer's own order: (s, k)^-1 (t, l) = (s xor t, (-1)^s (l - k) mod 4)."""
    layer, lift = conv(D4.regular(2), D4.regular(2), size), conv(D4.trivial(1), D4.regular(1), size)
    w, first = whole_numbers(layer), whole_numbers(lift)
    bank = layer.kernel().detach().numpy().reshape(2, 8, 2, 8, size, size)
    for o in range(2):
        for i in range(2):
            for s in range(2):
                for k in range(4):
                    for t in range(2):
                        for n in range(4):
                            r = 4 * (s ^ t) + ((-1) ** s * (n - k)) % 4
                            assert np.array_equal(bank[o, 4 * s + k, i, 4 * t + n], moved(w[o, i, r], 4 * s + k))
    bank = lift.kernel().detach().numpy()[:, 0]
    assert all(np.array_equal(bank[g], moved(first[0, 0, 0], g)) for g in range(8))


@pytest.mark.parametrize(("size", "padding"), [(2, 0), (2, 1), (3, 1), (4, 0), (4, 1), (5, 2)])
@pytest.mark.parametrize("group", [C4, D4], ids=str)
def test_layers_turn_along(group, size, padding):
    """Kernels of even side too: they turn about their centre."""
    hidden = group.regular(2)
    for lifts in (True, False):
        for side in (7, 8):
            layer = conv(group.trivial(2) if lifts else hidden, hidden, size, padding=padding, bias=True)
            x = noise(2, layer.in_type.channels, side, side)
            y = layer(x)
            for g in range(group.order):
                assert relative(layer(layer.in_type.transform(x, g)), hidden.transform(y, g)) < 1e-12
    wrong = conv(hidden, hidden, size, padding=padding, kind=WrongRoll)
    assert relative(wrong(hidden.transform(x, 1)), hidden.transform(wrong(x), 1)) > 0.1


def test_p4m_without_mirrored_weights_is_two_streams_of_p4():
    layer = conv(D4.regular(2), D4.regular(3))
    layer.weight.data[:, :, 4:] = 0
    p4 = conv(C4.regular(2), C4.regular(3))
    p4.weight.data = layer.weight.data[:, :, :4].clone()
    x = noise(1, 16, 6, 6)

    def stream(maps, s):
        return maps.unflatten(1, (-1, 2, 4))[:, :, s].flatten(1, 2)

    y = layer(x)
    assert relative(stream(y, 0), p4(stream(x, 0))) < 1e-12
    mirrored = D4.regular(2).transform(x, 4)  # the mirror exchanges the streams
    assert relative(stream(D4.regular(3).transform(y, 4), 0), p4(stream(mirrored, 0))) < 1e-12
    other = x.unflatten(1, (-1, 2, 4)).clone()
    other[:, :, 1] += 1
    assert torch.equal(stream(layer(other.flatten(1, 3)), 0), stream(y, 0))
    nn.init.normal_(layer.weight)  # negative control
    assert relative(stream(layer(other.flatten(1, 3)), 0), stream(layer(x), 0)) > 0.1


def test_p4_with_the_same_weights_for_all_turns_is_an_ordinary_convolution():
    layer = conv(C4.regular(2), C4.regular(3))
    taps = noise(3, 2, 3, 3)
    layer.weight.data = taps.view(3, 2, 1, 9).repeat(1, 1, 4, 1)
    x = noise(1, 8, 6, 6)
    summed, y = x.unflatten(1, (2, 4)).sum(2), layer(x).unflatten(1, (3, 4))
    symmetric = sum(taps.rot90(k, (-2, -1)) for k in range(4))
    assert relative(y.sum(2), F.conv2d(summed, symmetric, padding=1)) < 1e-12
    for k in range(4):
        assert relative(y[:, :, k], F.conv2d(summed, taps.rot90(k, (-2, -1)), padding=1)) < 1e-12
    layer.weight.data[0, 0, 1] += 1
    assert relative(layer(x).unflatten(1, (3, 4)).sum(2), F.conv2d(summed, symmetric, padding=1)) > 0.1
