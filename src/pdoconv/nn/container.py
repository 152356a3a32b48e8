"""A `Sequential` that checks field types when it is built."""

from torch import nn

from pdoconv.fields import FieldType

MIXES_CHANNELS = (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle)


class Sequential(nn.Sequential):
    """`torch.nn.Sequential` whose layers must fit: the `out_type` of one is the `in_type` of the next typed one.

    Plain tensors carry no type, so 32 channels of C8 would pass for 32 channels of C4 in a plain `nn.Sequential`.
    Untyped modules without parameters (activations, dropout, pooling) pass a type on; others end the check until
    the next typed layer.

    Raises:
        ValueError: If two neighbours do not fit.
    """

    def __init__(self, *modules: nn.Module) -> None:
        """Keep the modules (or an `OrderedDict` of them) and check their types."""
        super().__init__(*modules)
        known: FieldType | None = None
        self.in_type: FieldType | None = None
        for position, module in enumerate(self):
            wanted = getattr(module, "in_type", None)
            if wanted is None:
                if isinstance(module, MIXES_CHANNELS) or next(module.parameters(), None) is not None:
                    known = None
                continue
            if known is not None and wanted != known:
                raise ValueError(
                    f"Sequential: module {position} ({type(module).__name__}) expects {wanted}, the layer before it "
                    f"gives {known}. Make both of one group and of as many fields."
                )
            if position == 0:
                self.in_type = wanted
            known = getattr(module, "out_type", None)
        self.out_type = known
