r"""Nonlinearities for fields of any kind.

A pointwise function $y_c = f(x_c)$ commutes with a group that permutes channels, not with one that turns them into each
other. There the norm of a field may be changed, which no element moves, or the field multiplied by scalars.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.blocks import blocks, by_channel, joined, norms
from pdoconv.nn.checks import require_dtype, require_type

ODD = (nn.Tanh, nn.Softsign, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink)
"""Functions with f(-x) = -f(x): they commute with changes of sign too."""

NormFunction = Literal["relu", "sigmoid", "squash"]


def require_pointwise(field: FieldType, function: object, who: str) -> None:
    """Raise `ValueError` if a function of single channels breaks the symmetry of a type."""
    slopes = function.num_parameters if isinstance(function, nn.PReLU) else 1
    for kind, _ in field.blocks:
        if slopes > 1 and kind.dim > 1:
            raise ValueError(
                f"{who}: nn.PReLU({slopes}) is another function for each channel, but the channels of a field need "
                f"the same: use nn.PReLU(), with one slope."
            )
        if not (kind.permutes or (kind.signed and isinstance(function, ODD))):
            raise ValueError(
                f"{who}: {field.group} does not permute the channels of {kind.name} fields but mixes them, so a "
                f"function of single channels breaks the symmetry: use NormActivation or GatedActivation, and this "
                f"package's pools."
            )


class PointwiseActivation(nn.Module):
    """A function of single channels, for types where it keeps the symmetry.

    Args:
        in_type: Type of input and output; fields that the group permutes, such as trivial, regular and quotient ones.
            Odd functions (`nn.Tanh()`, `nn.Softsign()`, ...) are right also for fields that only change sign.
        function: Such as `nn.ReLU()`.

    Raises:
        ValueError: If the group mixes channels, or an input is not of that type.
    """

    def __init__(self, in_type: FieldType, function: Callable[[Tensor], Tensor]) -> None:
        """Check and keep the arguments."""
        super().__init__()
        if isinstance(function, type) or not callable(function):
            raise ValueError(f"PointwiseActivation: expected a function such as nn.ReLU(), received {function!r}.")
        require_pointwise(in_type, function, type(self).__name__)
        self.in_type = self.out_type = in_type
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, type(self).__name__)
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        return self.function(x)

    def extra_repr(self) -> str:
        """Print the type."""
        return f"{self.in_type}"


class NormActivation(nn.Module):
    r"""Change the norm of every field and keep its direction: $y = f(|v| + b)\, v / |v|$ (Worrall et al., 2017).

    $|v|$ stands for $\sqrt{|v|^2 + \epsilon}$, so that fields that are zero stay zero, with finite gradients.

    Args:
        in_type: Type of input and output, fields of any kind.
        function: `"relu"`; `"sigmoid"` (the output is $\sigma(|v| + b)\, v$); `"squash"` (Sabour et al., 2017: the
            output is $v\,|v| / (1 + |v|^2)$ and there is no b).
        eps: Added to the squared norm.
        device: Device of the parameters.
        dtype: Floating type of the parameters.

    Attributes:
        bias: `(fields,)`, or `None`; at first -0.5 for `"relu"` (0 would make it the identity), else 0.

    Raises:
        ValueError: If the function is unknown, or an input is not of that type or has another dtype than the bias.
    """

    def __init__(
        self,
        in_type: FieldType,
        function: NormFunction = "relu",
        *,
        eps: float = 1e-5,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Check the arguments and make the bias."""
        super().__init__()
        require_type("NormActivation", in_type)
        if function not in get_args(NormFunction):
            raise ValueError(
                f"NormActivation: function must be one of {get_args(NormFunction)}, received {function!r}."
            )
        if eps <= 0:
            raise ValueError(f"NormActivation: eps must be positive, received {eps}: at zero a norm has no gradient.")
        self.in_type = self.out_type = in_type
        self.function, self.eps = function, eps
        empty = torch.empty(in_type.fields, device=device, dtype=dtype)
        self.bias = None if function == "squash" else nn.Parameter(empty)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the bias to its first value."""
        if self.bias is not None:
            nn.init.constant_(self.bias, -0.5 if self.function == "relu" else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, channels, *space)` to the same shape."""
        self.in_type.check(x, "NormActivation")
        if self.bias is not None:
            require_dtype(self, x, self.bias)
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        size = norms(x, self.in_type, self.eps)  # wide: below are squares, and gradients with 1 / |v|^2
        if self.bias is None:
            factor = size / (1 + size.square())
        else:
            shifted = size + self.bias.to(size.dtype).view(-1, *[1] * self.in_type.group.dim)
            factor = shifted.relu() / size if self.function == "relu" else shifted.sigmoid()
        return x * by_channel(factor.to(x.dtype), self.in_type)

    def extra_repr(self) -> str:
        """Print type and function."""
        return f"{self.in_type}, {self.function}"


class GatedActivation(nn.Module):
    r"""Multiply each field by the sigmoid of a scalar field, its gate (Weiler et al., 2018).

    The input holds one trivial gate for every field that the group does not permute, then the fields; permuted fields
    need no gate and go through a ReLU. Give the layer before it `out_type=activation.in_type`.

    Args:
        out_type: Type of the output, fields of any kind.

    Attributes:
        in_type: Type of the input: the gates, then `out_type`.

    Raises:
        ValueError: If an input is not of `in_type`.

    >>> from pdoconv import so2
    >>> act = GatedActivation(so2().trivial(4) + so2().irrep(1, 3))
    >>> act.in_type
    FieldType(SO2: 7 trivial + 3 irrep(1))
    """

    def __init__(self, out_type: FieldType) -> None:
        """Count the gates."""
        super().__init__()
        require_type("GatedActivation", out_type)
        self.gates = sum(fields for kind, fields in out_type.blocks if not kind.permutes)
        self.out_type = out_type
        self.in_type = out_type.group.trivial(self.gates) + out_type if self.gates else out_type

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, gates + channels, *space)` to `(batch, channels, *space)`."""
        self.in_type.check(x, "GatedActivation")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        # a split, not two slices: one gradient, not two to add
        both = torch.split(x, [self.gates, self.out_type.channels], 1)
        gates, parts, used = both[0].sigmoid(), [], 0
        for kind, fields, part in blocks(both[1], self.out_type):
            if not kind.permutes:
                parts.append((part * gates[:, used : used + fields, None]).flatten(1, 2))
                used += fields
            else:
                parts.append(part.relu().flatten(1, 2))
        return joined(parts)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"
