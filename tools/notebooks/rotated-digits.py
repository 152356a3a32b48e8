# %% [markdown]
# # Rotated digits: from one layer to a trained network
#
# One equivariant layer on a real digit, then a small network that is invariant from end to end, trained on digits in
# random orientations beside an ordinary CNN of as many parameters. Everything that the text says is shown by an
# output. Run again with `python tools/notebooks.py rotated-digits`; it takes some minutes on one core.

# %%
import os
import time

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import nn

import pdoconv as pdo
from pdoconv.data.mnist_rot import rotate

QUICK = os.environ.get("PDOCONV_NOTEBOOK") == "quick"  # few digits, for tests: claims about training go unchecked
torch.manual_seed(0)
torch.set_num_threads(1)
plt.rcParams.update({"figure.dpi": 90, "image.cmap": "Greys", "figure.constrained_layout.use": True})

# %% [markdown]
# ## The data
#
# MNIST-rot: 10,000 digits to train with and 50,000 to test, each turned by a random angle. If the published files are
# not in `data/`, the set is made again from the 70,000 digits of MNIST by the published recipe, with a fixed seed.
# The recipe leaves 8,000 digits over. Of these, upright, we take some for the pictures: no network sees them in
# training.

# %%
data = pdo.data.mnist_rot()
with np.load(pdo.data.files.data_root() / "mnist.npz") as file:
    digits = np.concatenate([file["x_train"], file["x_test"]])
    answers = np.concatenate([file["y_train"], file["y_test"]]).astype(int)
left_over = np.random.Generator(np.random.PCG64(0)).permutation(len(digits))[62_000:]
upright, upright_labels = digits[left_over], answers[left_over]


def tensor(images):
    return torch.from_numpy(images)[:, None].float() / 255


figure, panels = plt.subplots(1, 10, figsize=(10, 1.4))
for axes, image, label in zip(panels, data.train.images, data.train.labels, strict=False):
    axes.imshow(image)
    axes.set(xticks=[], yticks=[], title=label)
print(data.title, [len(part.images) for part in data])

# %% [markdown]
# ## One layer
#
# `C8` is the group of the eight rotations by multiples of 45 degrees. The layer below reads a gray picture and writes
# one *regular field*: eight maps, the answers of one filter in eight orientations. The law is: turn the picture by 90
# degrees, and the maps turn by 90 degrees *and* move on by two places, for 90 degrees are two steps of 45. The
# weights are set by hand here, for the picture: the derivative along x, and a little of a second derivative. The law
# holds for all weights.

# %%
C8 = pdo.cyclic(8)
layer = pdo.PDOConv2d(C8.trivial(1), C8.regular(1), padding=2, bias=False)
with torch.no_grad():
    layer.weight.zero_()
    layer.weight[..., 1], layer.weight[..., 5] = 1.0, 0.25
four = tensor(upright[upright_labels == 4][:1])
turned_four = torch.rot90(four, 1, (-2, -1))
with torch.no_grad():
    maps, maps_of_turned = layer(four), layer(turned_four)

figure, panels = plt.subplots(2, 9, figsize=(11, 2.8))
top = float(maps.abs().max())
for row, (picture, found) in enumerate([(four, maps), (turned_four, maps_of_turned)]):
    panels[row, 0].imshow(picture[0, 0])
    panels[row, 0].set(title="picture" if row == 0 else "turned by 90°", xticks=[], yticks=[])
    for k in range(8):
        panels[row, k + 1].imshow(found[0, k], cmap="PuOr", vmin=-top, vmax=top)
        panels[row, k + 1].set(title=f"{45 * k}°", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# Each map of the second row is a map of the first, turned, two places further on. As a number:

# %%
law = torch.rot90(maps, 1, (-2, -1)).roll(2, dims=1)  # turn the maps, move the group axis by two
without_roll = torch.rot90(maps, 1, (-2, -1))
print(f"largest difference {float((maps_of_turned - law).abs().max() / top):.1e} of the largest value")
print(f"the same without moving the axis {float((maps_of_turned - without_roll).abs().max() / top):.1e}")
assert (maps_of_turned - law).abs().max() < 1e-6 * top

# %% [markdown]
# `pdo.equivariance_error` measures this for any module and any angle. It needs no interpolation: at 45 degrees a
# digit is read as a smooth function (blurred by a Gaussian of one pixel) and sampled on a turned grid. Beside the
# layer stands an ordinary convolution with eight filters, as the negative control: it is measured as if its channels
# were one regular field.

# %%
sample = tensor(upright[:16])
conv = nn.Conv2d(1, 8, 5, padding=2, bias=False)
types = {"in_type": layer.in_type, "out_type": layer.out_type}
print("degrees          90       45")
measured = {}
for name, module in {"PDOConv2d": layer, "nn.Conv2d": conv}.items():
    exact = pdo.equivariance_error(module, 90, **types)
    between = pdo.equivariance_error(module, 45, images=sample, **types)
    measured[name] = exact, between
    print(f"{name:14} {exact:.1e}  {between:.1e}")
assert measured["PDOConv2d"][0] < 1e-6
assert measured["PDOConv2d"][1] < 0.1
assert min(measured["nn.Conv2d"]) > 0.3

# %% [markdown]
# Quarter turns are exact, to the rounding of float32. At 45 degrees the error is small but not zero: the grid of
# pixels does not go over into itself, and a stencil is an approximation of a derivative.
#
# ## Two networks
#
# The equivariant one: six fields on the group, and in the end `GroupPool`, the largest of the eight maps of each
# field, and a mean over the picture. What the classifier reads is invariant. The plain one has the same layout, and
# as many channels as make it equally large in parameters.

# %%
first, wide = C8.regular(4), C8.regular(6)


def block(into, out):
    return [pdo.PDOConv2d(into, out, padding=2), pdo.BatchNorm2d(out), nn.ReLU()]


turning = pdo.Sequential(
    *block(C8.trivial(1), first),
    *block(first, wide),
    pdo.AvgPool2d(wide, 2),
    *block(wide, wide),
    *block(wide, wide),
    pdo.AvgPool2d(wide, 2),
    *block(wide, wide),
    pdo.GroupPool(wide),  # 48 channels become 6, which no rotation changes
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(6, 10),
)


def plain_block(into, out):
    return [nn.Conv2d(into, out, 5, padding=2), nn.BatchNorm2d(out), nn.ReLU()]


def plain_network():
    return nn.Sequential(
        *plain_block(1, 8),
        *plain_block(8, 12),
        nn.AvgPool2d(2),
        *plain_block(12, 12),
        *plain_block(12, 12),
        nn.AvgPool2d(2),
        *plain_block(12, 12),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 10),
    )


networks = {"C8": turning, "plain": plain_network(), "plain, longer": plain_network()}
for name, net in networks.items():
    print(f"{name:14} {sum(p.numel() for p in net.parameters()):,} parameters")
error_before = pdo.equivariance_error(turning, 90, size=28)  # the side of the pictures: AvgPool2d needs even sides
print(f"untrained, turned by 90 degrees, the outputs of C8 change by {error_before:.1e} of their size")
assert error_before < 1e-5

# %% [markdown]
# ## Training
#
# Both are trained alike, on turned digits: AdamW, one cycle of the learning rate, batches of 64, no augmentation, the
# last weights. No setting was searched for. A step of the equivariant network takes several times as long, so a third
# run gives the plain network five times the epochs; the seconds stand in the table below. (What happens if the
# training digits all stand upright: [the notebook on conversion](convert.html).)

# %%
COUNT, EPOCHS = (256, 1) if QUICK else (10_000, 3)
images, labels = tensor(data.train.images[:COUNT]), torch.from_numpy(data.train.labels[:COUNT]).long()


def train(net, epochs):
    """Return the loss of every step and the seconds that it took."""
    steps = epochs * len(images) // 64
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1e-2, total_steps=steps)
    stream, losses, start = torch.Generator().manual_seed(0), [], time.perf_counter()
    for step in range(steps):
        pick = torch.randint(len(images), (64,), generator=stream)
        loss = nn.functional.cross_entropy(net(images[pick]), labels[pick])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if (step + 1) % max(1, steps // 4) == 0:
            print(f"  step {step + 1:4} of {steps}, mean loss of the last 50: {np.mean(losses[-50:]):.3f}", flush=True)
    net.eval()
    return losses, time.perf_counter() - start


curves, seconds = {}, {}
for name, net in networks.items():
    print(name)
    curves[name], seconds[name] = train(net, EPOCHS * (5 if "longer" in name else 1))

# %%
figure, axes = plt.subplots(figsize=(7, 3.2))
for name, losses in curves.items():
    width = max(1, len(losses) // 60)
    smooth = np.convolve(losses, np.ones(width) / width, "valid")
    axes.plot(np.arange(len(smooth)) * 64 / len(images), smooth, label=name)
axes.set(xlabel="epochs", ylabel="training loss (running mean)", yscale="log")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# ## The test
#
# The first 10,000 test digits, read once.

# %%
TEST = 200 if QUICK else 10_000


def predict(net, images):
    with torch.no_grad():
        return torch.cat([net(part) for part in tensor(images).split(250)])


found = {name: predict(net, data.test.images[:TEST]).argmax(1).numpy() for name, net in networks.items()}
errors = {name: 100 * float((classes != data.test.labels[:TEST]).mean()) for name, classes in found.items()}
print(f"{'network':14}error %   seconds of training (a busy machine)")
for name, error in errors.items():
    print(f"{name:14}{error:6.2f}    {seconds[name]:6.0f}")
assert QUICK or errors["C8"] + 1 < errors["plain, longer"] < errors["plain"] - 1

# %% [markdown]
# One run each, so differences of a few tenths mean little; these are larger. With five times the epochs the plain
# network is nearer. It has to learn every stroke in every orientation, with the same few parameters; the other learns
# it once.
#
# Some of the equivariant network's mistakes, as given → taken for:

# %%
wrong = np.flatnonzero(found["C8"] != data.test.labels[:TEST])
pairs = [{int(found["C8"][i]), int(data.test.labels[i])} for i in wrong]
print(f"{len(wrong)} mistakes, {pairs.count({6, 9})} of them between 6 and 9")
figure, panels = plt.subplots(2, 10, figsize=(10, 2.6))
for axes, i in zip(panels.flat, wrong, strict=False):
    axes.imshow(data.test.images[i])
    axes.set_title(f"{data.test.labels[i]} → {found['C8'][i]}", fontsize=9)
for axes in panels.flat:
    axes.set(xticks=[], yticks=[])
plt.show()

# %% [markdown]
# A 6 upside down is a 9, and an invariant network has no way to know how the digit was held, except by the hand of
# the writer. That is the price of this symmetry, and MNIST-rot has it for every method.
#
# ## Is the trained network still invariant?
#
# Training does not touch the law: it holds for all weights. What it is *between* quarter turns has to be measured.
# Random smooth pictures first, then digits.

# %%
table = {}
for name, net in networks.items():
    kinds = {"in_type": C8.trivial(1), "out_type": C8.trivial(10)}
    table[name] = [
        pdo.equivariance_error(net, 90, size=28, **kinds),
        *(pdo.equivariance_error(net, angle, images=sample, **kinds) for angle in (15, 30, 45)),
    ]
print("change of the logits, relative to their size\ndegrees             90       15       30       45")
for name, row in table.items():
    print(f"{name:14}", "  ".join(f"{e:.1e}" for e in row))
assert table["C8"][0] < 1e-5 < 1e-3 < min(table["plain"][0], table["plain, longer"][0])

# %% [markdown]
# For C8 at 90 degrees: rounding, against what the plain networks have learned. 45 degrees is an element of the group,
# too, but there the error of the single layer above has become larger by five layers, ReLU, pooling and the zeros
# around the picture. Angles between the elements, 15 and 30 degrees, are in no way built in: there it depends on how
# smooth the network is over the angle.
#
# Now an upright digit that neither has seen, turned through a full circle (bilinear interpolation, as in the data
# set). Logits of the ten classes; the digit's own is drawn thick.

# %%
angles = np.arange(0, 361, 5)
place = int(np.flatnonzero(upright_labels == 2)[0])
film = rotate(np.repeat(upright[place : place + 1], len(angles), 0), np.deg2rad(angles))
figure, panels = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
for axes, name in zip(panels, ("C8", "plain, longer"), strict=True):
    logits = predict(networks[name], film).numpy()
    for digit in range(10):
        own = digit == upright_labels[place]
        axes.plot(angles, logits[:, digit], color=f"C{digit}", linewidth=3 if own else 1, label=digit)
    spread = float(np.ptp(logits[:, upright_labels[place]]))
    quarter = float(np.abs(logits[angles == 90] - logits[angles == 0]).max())
    print(f"{name:14} own logit moves by {spread:.2f} over the circle; any logit from 0 to 90 degrees by {quarter:.1e}")
    axes.set(title=name, xlabel="rotation, degrees", xticks=range(0, 361, 90))
panels[0].set_ylabel("logit")
panels[1].legend(frameon=False, ncols=2, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %% [markdown]
# ## Over all orientations
#
# Test error on upright digits that are turned, all by the same angle.

# %%
circle = np.arange(0, 360, 45 if QUICK else 15)
few = 40 if QUICK else 1000
error_at = {name: [] for name in networks}
for angle in circle:
    moved = rotate(upright[:few], np.full(few, np.deg2rad(angle)))
    for name, row in error_at.items():
        row.append(100 * float((predict(networks[name], moved).argmax(1).numpy() != upright_labels[:few]).mean()))
figure, axes = plt.subplots(figsize=(7, 3))
for name, row in error_at.items():
    axes.plot(circle, row, marker="o", markersize=3, label=name)
    quarters = [round(row[i], 1) for i in np.flatnonzero(circle % 90 == 0)]
    print(f"{name:14} from {min(row):.1f}% to {max(row):.1f}%; at 0, 90, 180, 270 degrees:", quarters)
axes.set(xlabel="rotation, degrees", ylabel="error, %", xticks=range(0, 361, 90), ylim=(0, None))
axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
plt.show()
assert np.ptp([row for row, angle in zip(error_at["C8"], circle, strict=True) if angle % 90 == 0]) < 0.2

# %% [markdown]
# The equivariant network has the same error at 0, 90, 180 and 270 degrees, because it gives the same answers there.
# Where to go on: [what the layers are made of](../theory/pde-to-stencil.html), [which group and filters to
# choose](../choose.html), [how to check your own network](../check.html).
