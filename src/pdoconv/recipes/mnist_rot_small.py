"""MNIST-rot with the authors' small p8 network (26,747 parameters; published: 1.87% error on the original files)."""

from dataclasses import dataclass

from torch import nn

from pdoconv.data import MnistRot, mnist_rot
from pdoconv.filters import family
from pdoconv.models import mnist_plain, mnist_small
from pdoconv.recipes.base import Recipe, require_network


@dataclass(frozen=True)
class MnistRotSmall(Recipe):
    """Settings of a run; chosen on the 10,000 / 2,000 split, see `docs/design/002-training.md`."""

    dropout: float = 0.2
    filters: str = "paper"
    """A name of `pdoconv.filters.FAMILIES`, or `"plain"`: ordinary convolutions with `fields` channels."""
    fields: int = 7
    """Regular fields of every layer. Equal parameters: 7 with nine operators, 6 with thirteen, 14 channels if plain."""

    classes = 10
    image_shape = (28, 28)
    title = "MNIST-rot, layout of the authors' small network"

    def __post_init__(self) -> None:
        """Raise `ValueError` for settings that cannot be run."""
        super().__post_init__()
        require_network(self.fields, self.dropout)
        if self.filters != "plain":
            family(self.filters)

    def network(self) -> nn.Module:
        """Return the network, freshly initialised."""
        if self.filters == "plain":
            return mnist_plain(channels=self.fields, dropout=self.dropout)
        return mnist_small(filters=family(self.filters), fields=self.fields, dropout=self.dropout)

    def data(self) -> MnistRot:
        """Return the data set."""
        return mnist_rot()
