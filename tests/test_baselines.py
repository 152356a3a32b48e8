"""Restoration without learning: what each method does where the answer is known."""

import numpy as np
import pytest
import torch

from pdoconv.data import as_image, synthetic
from pdoconv.measure import psnr
from pdoconv.pde.degrade import bayer, blur, mask, noise
from pdoconv.pde.tasks import task
from pdoconv.restoration import baselines as classical
from pdoconv.restoration.baselines import baselines, choose

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def clean():
    return as_image(synthetic(1, 48, 5)[0]).double()


def test_choose_finds_the_top():
    def score(p):
        return -((np.log(p["a"] / 7)) ** 2) - (np.log(p["b"] / 0.02) - 0.5 * np.log(p["a"] / 7)) ** 2

    found = choose(score, {"a": 1.0, "b": 1.0})
    assert found["a"] == pytest.approx(7, rel=0.2)
    assert found["b"] == pytest.approx(0.02, rel=0.2)
    assert choose(score, {}) == {}


def test_wiener_inverts_the_blur_without_noise(clean):
    blurred = blur(clean, 0.8)  # narrow enough that no frequency is lost to rounding
    assert (classical.wiener(blurred, 0.0, sigma=0.8) - clean).abs().max() < 1e-8
    assert (classical.wiener(blurred, 0.0, sigma=0.7) - clean).abs().max() > 1e-2  # of another blur
    noisy = noise(blur(clean, 1.5), 2, torch.Generator().manual_seed(0))
    quality = {ratio: psnr(classical.wiener(noisy, ratio), clean).item() for ratio in (1e-6, 1e-2, 1e2)}
    assert quality[1e-2] > max(quality[1e-6], quality[1e2], psnr(noisy, clean).item() + 1)


@pytest.mark.parametrize(("name", "gain"), [("unsharp", 0.3), ("shock", 0.3), ("wiener", 1.5), ("tv-deconvolution", 2)])
def test_deblurring_gains(clean, name, gain):
    observed, _ = task("deblur").observe(clean, torch.Generator().manual_seed(0))
    method = baselines("deblur")[name]
    parameters = {"wiener": {"ratio": 0.01}}.get(name, method.start)
    found = method.method(observed, None, **parameters).clamp(0, 1)
    assert psnr(found, clean).item() > psnr(observed.clamp(0, 1), clean).item() + gain


def test_backward_heat_undoes_a_little_heat(clean):
    warm = classical.heat(clean, 0.1)
    assert (classical.backward_heat(warm, 0.1) - clean).abs().mean() < 0.5 * (warm - clean).abs().mean()


def test_a_steady_ramp_is_exact():
    rows, columns = torch.meshgrid(torch.arange(24.0).double(), torch.arange(20.0).double(), indexing="ij")
    ramp = (0.02 * rows + 0.01 * columns)[None, None]
    known = mask(ramp.shape, 0.2, torch.Generator().manual_seed(0)).double()
    known[..., [0, -1], :] = known[..., [0, -1]] = 1  # at the rim the mirror would bend it
    assert (classical.harmonic(ramp * known, known) - ramp).abs().max() < 2e-4
    assert (classical.fill(ramp * known, known) - ramp).abs().max() > 2e-3


@pytest.mark.parametrize("name", ["fill", "harmonic", "perona-malik", "tv-flow", "biharmonic"])
def test_inpainting_keeps_what_is_known(clean, name):
    method = baselines("inpaint")[name]
    if not method.installed():
        pytest.skip(f"{method.package} is not installed")
    observed, known = task("inpaint").observe(clean, torch.Generator().manual_seed(0))
    found = method.method(observed, known, **method.start)
    assert torch.equal(found[known > 0], observed[known > 0])
    assert psnr(found.clamp(0, 1), clean).item() > psnr(observed, clean).item() + 8


def test_bilinear_is_exact_on_a_colour_ramp():
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(12.0), indexing="ij")
    ramp = torch.stack([0.03 * rows, 0.02 * columns, 0.5 - 0.01 * rows - 0.02 * columns])[None]
    observed, known = bayer(ramp)
    found = classical.bilinear(observed, known)
    assert (found - ramp)[..., 1:-1, 1:-1].abs().max() < 1e-6
    with pytest.raises(ValueError, match="known pixel next to every unknown"):
        classical.bilinear(observed * 0, known * (rows > 4))


@pytest.mark.parametrize("name", ["tv", "bm3d"])
def test_methods_of_other_packages_denoise(clean, name):
    method = baselines("denoise")[name]
    if not method.installed():
        pytest.skip(f"{method.package} is not installed")
    observed = noise(clean, 25, torch.Generator().manual_seed(0))
    found = method.method(observed, None, **method.start)
    assert found.dtype == observed.dtype
    assert psnr(found.clamp(0, 1), clean).item() > psnr(observed, clean).item() + 4
