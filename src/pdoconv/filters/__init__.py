"""Filter families: what a basis filter looks like after each group element.

A family answers one question: `basis(group, size)` is the array `(|G|, basis, *kernel)`, float64, whose entry
`[g, b]` is basis filter b moved by g. `pdoconv.nn.GroupConv` does the rest.
"""

from pdoconv.filters.base import Filters as Filters
from pdoconv.filters.base import fingerprint as fingerprint
from pdoconv.filters.fourier import FourierFilters as FourierFilters
from pdoconv.filters.fourier import fourier as fourier
from pdoconv.filters.harmonics import HarmonicFilters as HarmonicFilters
from pdoconv.filters.harmonics import harmonics as harmonics
from pdoconv.filters.hexagonal import HexagonalFilters as HexagonalFilters
from pdoconv.filters.hexagonal import hexagonal as hexagonal
from pdoconv.filters.interpolated import InterpolatedFilters as InterpolatedFilters
from pdoconv.filters.interpolated import interpolated as interpolated
from pdoconv.filters.named import FAMILIES as FAMILIES
from pdoconv.filters.named import family as family
from pdoconv.filters.pdo import PDOFilters as PDOFilters
from pdoconv.filters.pdo import default as default
from pdoconv.filters.pdo import paper as paper
from pdoconv.filters.pdo import pdo as pdo
from pdoconv.filters.pointwise import PointwiseFilters as PointwiseFilters
from pdoconv.filters.pointwise import pointwise as pointwise
from pdoconv.filters.rotated import RotatedFilters as RotatedFilters
from pdoconv.filters.rotated import rotated as rotated
