"""The layers of other libraries as plain modules, and networks that differ in their convolution alone.

Each peer needs an environment of its own, with torch and `pip install -e .`; `peer_packages.INSTALL` has the commands.
All modules take and return tensors in this library's layout, channel = field * |G| + g, and carry `in_type` and
`out_type`, so `pdoconv.equivariance_error` measures them. Only cyclic groups: e2cnn's R2Conv fails on dihedral ones.
"""

import torch
from peer_packages import load, shim_rbf
from torch import Tensor, nn

import pdoconv as pdo

OURS = (*pdo.filters.FAMILIES, "rotated-pixels")
PEERS = {  # name -> package, layer
    "escnn": ("escnn", "R2Conv"),
    "e2cnn-r2conv": ("e2cnn", "R2Conv"),
    "e2cnn-diffop": ("e2cnn", "R2Diffop"),  # finite differences
    "e2cnn-diffop-gauss": ("e2cnn", "R2Diffop"),  # derivatives of a Gaussian
}


class PeerConv(nn.Module):
    """A peer's layer between plain tensors; the layer itself is `layer`.

    The peers keep an expanded filter in the `state_dict` in eval mode only, so save and load in one mode.

    Attributes:
        in_type, out_type: Field types of this library.
    """

    def __init__(self, layer: nn.Module, wrap: type, in_type: pdo.FieldType, out_type: pdo.FieldType) -> None:
        """Keep the layer and its tensor class."""
        super().__init__()
        self.layer, self.wrap, self.in_type, self.out_type = layer, wrap, in_type, out_type

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, height, width)` to `(batch, out_channels, height', width')`."""
        return self.layer(self.wrap(x, self.layer.in_type)).tensor

    def train(self, mode: bool = True) -> "PeerConv":
        """Switch the mode; without a graph on the filter that eval mode keeps, so that the module can be copied."""
        with torch.no_grad():
            return super().train(mode)


def conv(
    system: str,
    in_type: pdo.FieldType,
    out_type: pdo.FieldType,
    kernel_size: int = 5,
    *,
    padding: int = 0,
    init: str = "default",
    **options: object,
) -> nn.Module:
    """Return a system's convolution, without bias.

    Bases are not shared between layers, so that `.double()` on one model leaves the others alone and so that
    e2cnn's cache, whose keys leave the discretisation out, cannot mix two schemes; construction takes longer for it.

    Args:
        system: One of `OURS` or `PEERS`.
        in_type: Type of the input, of a cyclic group.
        out_type: Type of the output.
        kernel_size: Odd side of the kernel.
        padding: Zeros on every side.
        init: `"default"`, the library's own; `"normal"`, N(0, 1) on its basis.
        **options: Passed on to the library's layer.

    Raises:
        ValueError: If the system or the initialisation is unknown, or the group is not cyclic.
        ImportError: If the peer is not installed.
    """
    if system not in OURS and system not in PEERS:
        raise ValueError(f"Unknown system {system!r}: expected one of {(*OURS, *PEERS)}.")
    layer: nn.Module
    if system in OURS:
        filters = pdo.filters.interpolated(ring=False) if system == "rotated-pixels" else pdo.filters.family(system)
        layer = pdo.GroupConv2d(in_type, out_type, kernel_size, filters=filters, padding=padding, bias=False, **options)
    else:
        package, name = PEERS[system]
        group = in_type.group
        if group.order < 2 or group != pdo.cyclic(group.order):
            raise ValueError(f"{system}: expected a cyclic group such as C8, received {group}.")
        if init not in ("default", "normal"):
            raise ValueError(f"{system}: init must be 'default' or 'normal', received {init!r}.")
        if package == "e2cnn":
            shim_rbf(needed=system == "e2cnn-diffop-gauss")
        gspaces, peer = load(f"{package}.gspaces"), load(f"{package}.nn")
        space = (gspaces.rot2dOnR2 if package == "escnn" else gspaces.Rot2dOnR2)(group.order)
        kinds = {"trivial": space.trivial_repr, "regular": space.regular_repr}
        types = (
            peer.FieldType(space, [kinds[k.name] for k, n in t.blocks for _ in range(n)]) for t in (in_type, out_type)
        )
        own = {"padding": padding, "bias": False, "recompute": True, "initialize": init == "default"}
        if system == "e2cnn-diffop-gauss":
            own["smoothing"] = kernel_size / 4  # what e2cnn calls a sane default
        built = getattr(peer, name)(*types, kernel_size, **{**own, **options})
        layer = PeerConv(built, peer.GeometricTensor, in_type, out_type)
    if init == "normal":
        nn.init.normal_(next(layer.parameters()))
    return layer


def stack(system: str, group: pdo.Group, fields: int = 4, kernel_size: int = 5, **options: object) -> pdo.Sequential:
    """Three layers with ELU between them: one image to regular fields; each layer takes `kernel_size - 1` pixels."""
    image, hidden = group.trivial(1), group.regular(fields)
    layers: list[nn.Module] = []
    for first in (image, hidden, hidden):
        layers += [conv(system, first, hidden, kernel_size, **options), nn.ELU()]
    return pdo.Sequential(*layers[:-1])


def classifier(
    system: str, group: pdo.Group, fields: int = 7, *, classes: int = 10, dropout: float = 0.2, **options: object
) -> pdo.Sequential:
    """The layers of `pdoconv.models.mnist_small`: images `(batch, 1, 28, 28)` to logits, with any 5x5 convolution."""
    image, hidden = group.trivial(1), group.regular(fields)
    layers: list[nn.Module] = []
    for number in range(1, 7):
        layers += [conv(system, image if number == 1 else hidden, hidden, 5, padding=1, **options)]
        layers += [pdo.BatchNorm2d(hidden, eps=1e-3), nn.ReLU()]
        layers += [pdo.MaxPool2d(hidden, 2)] if number == 2 else [nn.Dropout(dropout)]
    last = nn.Conv2d(hidden.channels, classes, 4, bias=False)
    nn.init.xavier_uniform_(last.weight)
    return pdo.Sequential(*layers, last, nn.Flatten())
