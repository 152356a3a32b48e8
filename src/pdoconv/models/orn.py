"""Oriented response network for MNIST-rot (Zhou et al., 2017): ORN-8 with ORAlign 970,954 parameters, ORPool 397,514.

Active rotating filters are group convolutions of C8 whose 3x3 kernels turn as a ring, one place for 45 degrees. The
image is repeated for the eight orientations; four convolutions with bias and ReLU, 2x2 pooling behind the first three;
on the last map, of one pixel, the responses of every field are aligned, or the largest is taken, and two fully
connected layers classify.

The bias: the published networks learn one for every field and orientation. As soon as those of a field differ,
rotations no longer permute the responses. Here there are as many parameters, but their mean over the orientations acts.

What is exact: quarter turns do not change the logits, to rounding, if every pooled side is even, that is on images of
30 pixels or of 28 with `padding=1`. On the published 32 pixels the second pooling meets 13: it leaves out the last row
and column, and its warning says so. Turns by 45 degrees are approximate always: a ring of pixels is not a circle.
"""

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.filters import interpolated
from pdoconv.nn import GroupConv2d, GroupPool, MaxPool2d, Sequential
from pdoconv.nn.blocks import by_channel
from pdoconv.nn.orientation import OrientationAlign
from pdoconv.pointgroups import cyclic

PADDINGS = (0, 0, 1, 0)
"""Of the four convolutions: 30 to 37 pixels become one."""


class Repeat(nn.Module):
    """Give every element of the group the value of a trivial field: trivial fields as regular ones.

    Args:
        in_type: Type of the input, trivial fields.

    Attributes:
        out_type: As many regular fields.

    Raises:
        ValueError: If the fields are of another kind, or an input is not of that type.
    """

    def __init__(self, in_type: FieldType) -> None:
        """Check the type."""
        super().__init__()
        if in_type.kind != "trivial":
            raise ValueError(f"Repeat: expected trivial fields, received {in_type}: others have an orientation.")
        self.in_type, self.out_type = in_type, in_type.group.regular(in_type.fields)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, fields, *space)` to `(batch, fields * |G|, *space)`."""
        self.in_type.check(x, "Repeat")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        return x.repeat_interleave(self.in_type.group.order, 1)


class SharedBias(nn.Module):
    """Add one number to each field: the mean of one parameter for each of its channels.

    Args:
        in_type: Type of input and output, regular fields.

    Attributes:
        bias: `(fields, |G|)`, at first zero; only means over the group act, so the symmetry holds whatever is learned.

    Raises:
        ValueError: If an input is not of that type.
    """

    def __init__(self, in_type: FieldType) -> None:
        """Make the parameters."""
        super().__init__()
        self.in_type = self.out_type = in_type
        self.bias = nn.Parameter(torch.zeros(in_type.fields, in_type.field_size))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, "SharedBias")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        return x + by_channel(self.bias.mean(1), self.in_type, 0).view(-1, *[1] * self.in_type.group.dim)


def orn8_align(
    *,
    classes: int = 10,
    widths: tuple[int, int, int, int] = (10, 20, 40, 80),
    hidden: int = 1024,
    orientations: int = 8,
    align: bool = True,
    dropout: float = 0.5,
    padding: int = 0,
) -> Sequential:
    """Return the network: standardised images `(batch, 1, 32, 32)` to logits `(batch, classes)`.

    Args:
        classes: Number of classes.
        widths: Fields of the four convolutions.
        hidden: Width of the fully connected layer.
        orientations: Orientations of every filter, 8 or 4 in the paper.
        align: Align the responses (ORAlign); otherwise take the largest (ORPool).
        dropout: Probability of the elementwise dropout before the classifier, of invariant features.
        padding: Zeros around the image; sides of 28 become 32 with 2, and with 1 keep quarter turns exact.

    Raises:
        ValueError: If an argument is out of range.

    >>> sum(p.numel() for p in orn8_align().parameters())
    970954
    >>> sum(p.numel() for p in orn8_align(align=False).parameters())
    397514
    """
    if len(widths) != len(PADDINGS):
        raise ValueError(f"orn8_align: expected four widths, one for each convolution, received {widths}.")
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise ValueError(f"orn8_align: padding must be one whole number >= 0, received {padding!r}.")
    turns = cyclic(orientations)
    layers: list[nn.Module] = [nn.ZeroPad2d(padding)] if padding else []
    layers += [Repeat(turns.trivial(1))]
    incoming = turns.regular(1)
    for number, (width, pixels) in enumerate(zip(widths, PADDINGS, strict=True)):
        if number:
            layers += [MaxPool2d(incoming, 2)]
        responses = turns.regular(width)
        # He's rule, as published; weights centred over the input, as by default, give zero of the repeated image
        conv = GroupConv2d(incoming, responses, 3, filters=interpolated(), padding=pixels, bias=False, init="authors")
        layers += [conv, SharedBias(responses), nn.ReLU()]
        incoming = responses
    encoding = OrientationAlign(incoming) if align else GroupPool(incoming)
    head = [nn.Linear(encoding.out_type.channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)]
    return Sequential(*layers, encoding, nn.Flatten(), *head)
