"""What the restoring networks have in common: they add a correction to the image."""

from torch import Tensor, nn


class Correction(nn.Module):
    """Add what a network makes of an input to the first channels of that input.

    Args:
        network: Maps `(batch, in_channels, height, width)` to `(batch, out_channels, height, width)`.
        in_channels: Channels of the input.
        out_channels: Channels of the output; the rest of the input is only looked at, such as a mask.

    Raises:
        ValueError: If there are more channels in the output than in the input, or an input has another number of them.
    """

    def __init__(self, network: nn.Module, in_channels: int, out_channels: int) -> None:
        """Check and keep the arguments."""
        super().__init__()
        if not 1 <= out_channels <= in_channels:
            raise ValueError(
                f"A restoring network corrects the first out_channels channels of its input: expected "
                f"1 <= out_channels <= in_channels, received {out_channels} and {in_channels}."
            )
        self.network, self.in_channels, self.out_channels = network, in_channels, out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, in_channels, height, width)`, images in [0, 1], to `(batch, out_channels, height, width)`."""
        require_pictures(x, self.in_channels, "Correction")
        corrected: Tensor = x[:, : self.out_channels] + self.network(x)
        return corrected


def require_pictures(x: Tensor, channels: int, who: str) -> None:
    """Raise `ValueError` unless `x` is `(batch, channels, height, width)`."""
    if x.dim() != 4 or x.shape[1] != channels:
        raise ValueError(f"{who}: expected (batch, {channels}, height, width), received {tuple(x.shape)}.")
