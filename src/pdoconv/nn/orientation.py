"""Maps out of regular fields by the element of the largest response: to vectors, and to aligned responses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pdoconv.fields import FieldType
from pdoconv.nn.checks import require_type


class OrientationPool(nn.Module):
    r"""Keep the largest response of a field as a vector that points where it occurs (Marcos et al., 2017).

    The output is $\rho\,(\cos t, \sin t)$ with $\rho = \max_k f_k$ and $t = 2\pi\, \mathrm{argmax}_k f_k / R$,
    components x to the right and **y up**: `act(g, f)` has its maximum at g times the old element, so the vector turns
    with g, exactly for every rotation of the group. Where several responses are equal the first counts, and the vector
    need not turn along; behind a ReLU this leaves vectors of length zero alone. The gradient goes to the largest
    response only.

    Args:
        in_type: Type of the input, regular fields of rotations of the plane, `cyclic(R).regular(n)`.

    Attributes:
        out_type: Vector fields, one for each input field.

    Raises:
        ValueError: If the fields are of another kind, or the group has reflections or is not of the plane; or an input
            is not of that type.

    >>> from pdoconv import cyclic
    >>> x = torch.tensor([0.0, 3.0, 1.0, 0.0]).view(1, 4, 1, 1)  # the largest response at a quarter turn: up
    >>> OrientationPool(cyclic(4).regular(1))(x).flatten().tolist()
    [0.0, 3.0]
    """

    directions: Tensor

    def __init__(self, in_type: FieldType) -> None:
        """Check the type and make the table of directions."""
        super().__init__()
        require_type("OrientationPool", in_type)
        group = in_type.group
        if in_type.kind != "regular" or group.dim != 2:
            raise ValueError(
                f"OrientationPool: expected regular fields of rotations of the plane, such as cyclic(17).regular(4), "
                f"received {in_type}: only their channels have a direction each."
            )
        if group.mirrors.any():
            raise ValueError(
                f"OrientationPool: {group} has reflections, and an element points the same way as its mirror image: a "
                f"direction does not say which of the two responds. Use fields of cyclic(R), or Restrict to it first."
            )
        self.in_type, self.out_type = in_type, group.vector(in_type.fields)
        self.register_buffer("directions", self._table(), persistent=False)

    def _table(self) -> Tensor:
        """Return where each element takes the x axis, `(|G|, 2)`."""
        return torch.tensor(self.in_type.group.matrices[:, :, 0], dtype=torch.float64, device="cpu")

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Keep the directions in float64: they are cast to the input's dtype when used."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.directions = self._table().to(self.directions.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, fields * R, height, width)` to `(batch, fields * 2, height, width)`."""
        self.in_type.check(x, "OrientationPool")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        largest, places = torch.unflatten(x, 1, (self.in_type.fields, -1)).max(2)
        directions = F.embedding(places, self.directions.to(x)).movedim(-1, 2)
        return (largest[:, :, None] * directions).flatten(1, 2)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"


class OrientationAlign(nn.Module):
    r"""Read the responses of each field from the largest on: no element of the group changes the result.

    With $g_*$ the element of the largest response of a field at a pixel, $\mathrm{out}_h = f_{g_* h}$; for a cyclic
    group a roll that brings the largest to the front (ORAlign: Zhou et al., 2017). `act(g, f)` has its maximum at
    $g g_*$, and $f_{g^{-1} g g_* h}$ is the same. All responses are kept, where `GroupPool` keeps one. Where several
    responses are the largest, the first counts, and the result may depend on which that is.

    Args:
        in_type: Type of the input, regular fields of any finite group.

    Attributes:
        out_type: Trivial fields, |G| for each input field; the first of them is the largest response.

    Raises:
        ValueError: If the fields are of another kind, or an input is not of that type.

    >>> from pdoconv import cyclic
    >>> x = torch.tensor([2.0, 0.0, 5.0, 1.0]).view(1, 4, 1, 1)
    >>> OrientationAlign(cyclic(4).regular(1))(x).flatten().tolist()
    [5.0, 1.0, 2.0, 0.0]
    """

    product: Tensor

    def __init__(self, in_type: FieldType) -> None:
        """Check the type and make the table of products."""
        super().__init__()
        require_type("OrientationAlign", in_type)
        if in_type.kind != "regular":
            raise ValueError(
                f"OrientationAlign: expected regular fields such as cyclic(8).regular(4), received {in_type}: only "
                f"their channels are one for each element."
            )
        self.in_type, self.out_type = in_type, in_type.group.trivial(in_type.channels)
        self.register_buffer("product", self._table(), persistent=False)

    def _table(self) -> Tensor:
        return torch.tensor(self.in_type.group.product, device="cpu")

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]  # torch's own signature is untyped
        """Fill the table anew: `to_empty` leaves it without values."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.product = self._table().to(self.product.device)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map `(batch, fields * |G|, *space)` to the same shape."""
        self.in_type.check(x, "OrientationAlign")
        return self.activate(x)

    def activate(self, x: Tensor) -> Tensor:
        """Compute the output of a checked input."""
        fields = torch.unflatten(x, 1, (self.in_type.fields, -1))
        order = F.embedding(fields.argmax(2), self.product).movedim(-1, 2)  # g* h for every h
        return fields.gather(2, order).flatten(1, 2)

    def extra_repr(self) -> str:
        """Print types."""
        return f"{self.in_type} -> {self.out_type}"
