"""`PDOConv`: the group convolution with filters made of partial differential operators."""

from dataclasses import replace

from pdoconv.fields import FieldType
from pdoconv.filters import PDOFilters
from pdoconv.filters import default as default_filters
from pdoconv.nn.checks import require_type
from pdoconv.nn.conv import GroupConv, GroupConv1d, GroupConv2d, GroupConv3d


class PDOConv(GroupConv):
    """Group convolution with filters made of partial differential operators (PDO-eConv); arguments of `GroupConv`.

    Args:
        in_type: Type of the input.
        out_type: Type of the output.
        kernel_size: Side of the kernel; even ones turn about the point between their middle pixels.
        filters: PDO family; default `pdoconv.filters.default(dim, kernel_size)`.
        frame_offset: Constant angle of the frame in radians, instead of the family's own; in the plane only.
        **kwargs: `stride`, `padding`, `dilation`, `bias`, `padding_mode`, `init`, `method`, `device`, `dtype`.

    >>> import torch
    >>> from pdoconv import cyclic
    >>> C8 = cyclic(8)
    >>> layer = PDOConv(C8.regular(2), C8.regular(3), padding="same")
    >>> layer(torch.zeros(1, 16, 9, 9)).shape, layer.weight.shape
    (torch.Size([1, 24, 9, 9]), torch.Size([3, 2, 8, 13]))
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        kernel_size: int = 5,
        *,
        filters: PDOFilters | None = None,
        frame_offset: float | None = None,
        **kwargs: object,
    ) -> None:
        """Choose the filter family."""
        require_type(type(self).__name__, in_type, out_type)
        family = filters or default_filters(in_type.group.dim, kernel_size if isinstance(kernel_size, int) else 5)
        if frame_offset is not None:
            family = replace(family, frame_offset=frame_offset)
        super().__init__(in_type, out_type, kernel_size, filters=family, **kwargs)  # type: ignore[arg-type]  # passed on


class PDOConv1d(PDOConv, GroupConv1d):
    """`PDOConv` on the line: maps are `(batch, channels, length)`."""


class PDOConv2d(PDOConv, GroupConv2d):
    """`PDOConv` on the plane: maps are `(batch, channels, height, width)`."""


class PDOConv3d(PDOConv, GroupConv3d):
    """`PDOConv` in space: maps are `(batch, channels, depth, height, width)`."""
