# %% [markdown]
# # A learned PDE denoises a picture
#
# A picture evolves by a partial differential equation whose coefficients were learned. First the one that comes with
# the package, on a photograph, step by step. Then one of your own, for another task. The photographs come with
# scikit-image: `camera` (Lav Varshney), `coffee` (Rachel Michetti), `chelsea` (Stefan van der Walt), all CC0, and
# `astronaut` (NASA) and `rocket` (SpaceX), public domain. Run again with `python tools/notebooks.py learned-pde`; it
# takes some minutes.

# %%
import copy
import itertools
import os
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from skimage import data as photographs

from pdoconv import pde
from pdoconv.measure import psnr, ssim
from pdoconv.pde.invariants import names
from pdoconv.pde.restore import start
from pdoconv.plot_pde import coefficient_curves, pretty

QUICK = os.environ.get("PDOCONV_NOTEBOOK") == "quick"  # few patches, for tests: claims about training go unchecked
torch.manual_seed(0)
torch.set_num_threads(1)
plt.rcParams.update({"figure.dpi": 80, "image.cmap": "gray", "figure.constrained_layout.use": True})


def gray(name):
    """Return a photograph in [0, 1], (1, 1, height, width)."""
    picture = torch.from_numpy(getattr(photographs, name)().copy()).double() / 255
    luma = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64)
    return (picture @ luma if picture.dim() == 3 else picture)[None, None]


def show(pictures, columns=None, size=2.6):
    """Draw pictures with titles."""
    columns = columns or len(pictures)
    rows = -(-len(pictures) // columns)
    _, panels = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.25) * rows), squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    for axes, (title, picture) in zip(panels.flat, pictures.items(), strict=False):
        axes.imshow(picture[0, 0].detach(), vmin=0, vmax=1)
        axes.set_title(title, fontsize=9)
    plt.show()


def quality(picture, clean):
    return float(psnr(picture.clamp(0, 1), clean))


# %% [markdown]
# ## A noisy photograph, restored
#
# 160 x 160 pixels of `camera`, and white Gaussian noise of standard deviation 25/255. The shipped equation was
# trained for this noise on other photographs. Beside it, two equations written down by hand; how long they run is
# chosen here, on the answer, in their favour.

# %%
clean = gray("camera")[..., 70:230, 160:320]
noisy = pde.degrade.noise(clean, 25, torch.Generator().manual_seed(0))
heats = {t: pde.heat(noisy, t) for t in (0.3, 0.5, 0.7, 1.0, 1.4)}
flows = {t: pde.tv_flow(noisy, t) for t in (0.06, 0.08, 0.1, 0.12, 0.15)}
best = [max(runs.values(), key=lambda picture: quality(picture, clean)) for runs in (heats, flows)]
learned = pde.restore(noisy, "denoise", sigma=25)
answers = {
    "clean": clean,
    "noisy": noisy,
    "heat equation": best[0],
    "total variation flow": best[1],
    "learned PDE": learned,
}
for name, picture in list(answers.items())[1:]:
    print(f"{name:22} PSNR {quality(picture, clean):.2f} dB, SSIM {float(ssim(picture.clamp(0, 1), clean)):.3f}")
show(answers)
assert quality(learned, clean) > max(quality(picture, clean) for picture in best) + 0.5

# %% [markdown]
# ## The evolution
#
# The equation moves four fields at once: the picture O, and three indicators ρ, which start as copies of the picture
# and gather what it needs to know, such as where edges are. `pdoconv.pde.restore.start` gives the states one by one.
# The second row is the first indicator.

# %%
running = start(noisy, "denoise", sigma=25)
states = list(running.states())
shown = np.linspace(0, running.net.steps, 5).round().astype(int)
strip = {f"O, step {k}": running.fields(states[k])["O"] for k in shown}
ranges = [running.fields(states[k])["rho1"] for k in shown]
low, high = min(float(r.min()) for r in ranges), max(float(r.max()) for r in ranges)
strip |= {f"ρ1, step {k}": (rho - low) / (high - low) for k, rho in zip(shown, ranges, strict=True)}
show(strip, columns=5)
size = sum(p.numel() for p in running.net.parameters())
print(f"ρ1 is drawn from {low:.2f} to {high:.2f}; {running.net.steps} steps, {size:,} numbers")
assert torch.equal(running.result(states[-1]), learned)

# %% [markdown]
# Only the end was trained, yet here every step comes nearer to the clean picture.

# %%
course = [quality(running.result(state), clean) for state in states]
figure, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(course, marker="o", markersize=4, label="learned PDE")
for (name, value), colour in zip(
    {"heat equation": best[0], "total variation flow": best[1]}.items(), ("C1", "C2"), strict=True
):
    axes.axhline(quality(value, clean), linestyle="--", color=colour, label=f"{name}, at its best")
axes.set(xlabel="step", ylabel="PSNR, dB")
axes.legend(frameon=False, fontsize=8)
plt.show()
print("PSNR after each step:", " ".join(f"{value:.1f}" for value in course))
assert all(after > before for before, after in itertools.pairwise(course))

# %% [markdown]
# ## The coefficients
#
# The right side of the equation is made of differential invariants of the four fields, so it looks alike from every
# direction. Here are the coefficients over time of the 24 that have the largest; each row is scaled by its largest
# value, which stands beside it. Between invariants and rates this equation has a small layer too (`hidden`), which
# the picture leaves out.

# %%
print(running.net.count, "invariants of", ", ".join(running.net.labels))
coefficient_curves(running.net, "coefficients.png")
image = plt.imread("coefficients.png")
figure, axes = plt.subplots(figsize=(10, 10 * image.shape[0] / image.shape[1]))
axes.imshow(image)
axes.axis("off")
plt.show()

# %% [markdown]
# ## What is exact
#
# Turn the noisy picture by 90 degrees and restore it: the result is the restored picture, turned, to rounding. The
# control is an equation that is *not* made of invariants: diffusion along x alone.


# %%
def turn(picture):
    return torch.rot90(picture, 1, (-2, -1))


def along_x(picture, steps=20):
    for _ in range(steps):
        padded = torch.nn.functional.pad(picture, (1, 1, 0, 0), mode="replicate")
        picture = picture + 0.05 * (padded[..., 2:] - 2 * picture + padded[..., :-2])
    return picture


for name, method in {
    "learned PDE": lambda u: pde.restore(u, "denoise", sigma=25),
    "diffusion along x": along_x,
}.items():
    difference = float((method(turn(noisy)) - turn(method(noisy))).abs().max())
    print(f"{name:18} largest difference {difference:.1e}")
    assert (difference < 1e-9) == (name == "learned PDE")

# %% [markdown]
# ## An equation of your own: pictures in low light
#
# Where there is little light a camera counts photons, and the noise is stronger where the picture is brighter. Here
# 20 photons for white. Training pairs are small patches of four photographs; `camera` is only for the test.

# %%
PHOTONS = 20
stream = torch.Generator().manual_seed(0)


def low_light(picture):
    return torch.poisson(picture * PHOTONS, generator=stream) / PHOTONS


def patches(count, side=40):
    found = []
    for number in range(count):
        photo = gray(("astronaut", "coffee", "chelsea", "rocket")[number % 4])
        row, column = (int(torch.randint(n - side, (1,), generator=stream)) for n in photo.shape[2:])
        found.append(photo[..., row : row + side, column : column + side])
    return torch.cat(found)


targets = patches(4 if QUICK else 32)
dark = low_light(targets)
show(
    {f"patch {i}, {what}": part[i : i + 1] for i in range(3) for what, part in (("clean", targets), ("seen", dark))},
    size=1.7,
)

# %% [markdown]
# `pde.fit` finds all parameters that make the squared error small: step by step first, by least squares, then all at
# once, by L-BFGS through the exact gradient. `bounded` and `hidden` are [two extensions of the published
# form](../theory/learned-pdes.html#learning-the-coefficients): without them the equation cannot stop at edges.

# %%
torch.manual_seed(0)
mine = pde.LearnedPDE(steps=8, padding="replicate", bounded=True, hidden=16).double()
begin = time.perf_counter()
history = pde.fit(mine, dark, targets, iterations=2 if QUICK else 120, crop=2)
print(
    f"{sum(p.numel() for p in mine.parameters())} numbers, {time.perf_counter() - begin:.0f} seconds on a busy machine"
)
print(f"objective {history[0]:.1f} at the start, {history[-1]:.1f} at the end")
figure, axes = plt.subplots(figsize=(6, 2.5))
axes.plot(history)
axes.set(xlabel="iteration", ylabel="objective", yscale="log")
plt.show()
assert history[-1] < history[0] / 2

# %% [markdown]
# The classical equations get the same chance: their end, and Perona-Malik's threshold, are chosen on the same
# patches.

# %%


def together(restored):
    """Return the PSNR of all patches as one picture, which is what the fit makes large."""
    return float(-10 * (restored.clamp(0, 1) - targets).square().mean().log10())


classical = {
    "heat equation": (pde.heat, [(t,) for t in (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)]),
    "total variation flow": (pde.tv_flow, [(t,) for t in (0.1, 0.12, 0.15, 0.18, 0.22, 0.3)]),
    "Perona-Malik": (pde.perona_malik, [(t, k) for t in (1.0, 2.0, 3.0, 5.0) for k in (0.1, 0.2, 0.3, 0.4)]),
}
photo = gray("camera")[..., 70:230, 160:320]
seen = low_light(photo)
results = {"clean": photo, "seen": seen}
print(f"{'':22} patches   camera, PSNR in dB")
for name, (method, choices) in classical.items():
    scores = [together(method(dark, *choice)) for choice in choices]
    choice = choices[int(np.argmax(scores))]
    results[name] = method(seen, *choice)
    print(f"{name:22} {max(scores):6.2f}   {quality(results[name], photo):6.2f}   with {choice}")
with torch.no_grad():
    results["learned here"] = mine(seen)
    on_patches = together(mine(dark))
print(f"{'learned here':22} {on_patches:6.2f}   {quality(results['learned here'], photo):6.2f}")
print(f"{'nothing':22} {together(dark):6.2f}   {quality(seen, photo):6.2f}")
show({f"{name}\n{quality(p, photo):.2f} dB" if name != "clean" else name: p for name, p in results.items()})
assert QUICK or quality(results["learned here"], photo) > max(quality(results[name], photo) for name in classical)

# %% [markdown]
# One photograph and one draw of the noise. On standard test sets, for white noise and with more steps of training, an
# equation of this kind stands above total variation flow, and below BM3D and the best network there:
# [results](../design/007-pdes.html#measured-restoration), `results/restoration-denoise.json`.
#
# And the law, which nobody trained:

# %%
with torch.no_grad():
    difference = float((mine(turn(seen)) - turn(mine(seen))).abs().max())
    mirrored = float((mine(seen.flip(-1)) - mine(seen).flip(-1)).abs().max())
print(f"turned by 90 degrees: {difference:.1e}, mirrored: {mirrored:.1e}")
assert max(difference, mirrored) < 1e-9

# %% [markdown]
# ## Switch off an invariant
#
# Two fields have 17 invariants. Take one away, from the linear part and from what goes into the hidden layer, and run
# the equation again: what does the picture lose? It was not fitted again without it, so this says what *this*
# equation uses, not what can be done without.

# %%
losses = {}
for j, name in enumerate(names()):
    without = copy.deepcopy(mine)
    with torch.no_grad():
        without.coefficients[..., j] = 0
        without.inward[:, j] = 0
        lost = quality(results["learned here"], photo) - quality(without(seen), photo)
    losses[f"{j}: {pretty(name)}"] = lost
figure, axes = plt.subplots(figsize=(7, 3.8))
axes.barh(list(losses), list(losses.values()))
axes.invert_yaxis()
axes.set_xlabel("PSNR lost, dB")
plt.show()
order = sorted(losses, key=lambda name: losses[name])
for what, chosen in (("least", order[:3]), ("most", order[:-4:-1])):
    print(f"{what}:", ", ".join(f"{name.split(':')[0]} ({losses[name]:.2f} dB)" for name in chosen))
assert max(losses.values()) > 0.5

# %% [markdown]
# ## Keep it
#
# A learned PDE is a small file of plain numbers with five significant digits.

# %%
pde.save(mine, "low-light.json", about={"task": f"{PHOTONS} photons for white"})
with torch.no_grad():
    kept = pde.load("low-light.json").double()(seen)
    change = float((kept - mine(seen)).abs().max())
print(f"{Path('low-light.json').stat().st_size:,} bytes; the restored picture changes by {change:.0e}")
assert change < 1e-2
