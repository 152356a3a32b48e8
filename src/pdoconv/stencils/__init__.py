"""Numerical schemes: a monomial derivative becomes weights on a grid of spacing 1."""

from pdoconv.stencils.base import Stencils as Stencils
from pdoconv.stencils.base import discretise as discretise
from pdoconv.stencils.base import equivariance_order as equivariance_order
from pdoconv.stencils.base import expansion as expansion
from pdoconv.stencils.base import symbol as symbol
from pdoconv.stencils.designed import BandLimited as BandLimited
from pdoconv.stencils.designed import Gaussian as Gaussian
from pdoconv.stencils.designed import band_limited as band_limited
from pdoconv.stencils.designed import gaussian as gaussian
from pdoconv.stencils.finite import FiniteDifference as FiniteDifference
from pdoconv.stencils.finite import centred as centred
from pdoconv.stencils.finite import finite_difference as finite_difference
from pdoconv.stencils.finite import truncation_constant as truncation_constant
from pdoconv.stencils.isotropic import Isotropic as Isotropic
from pdoconv.stencils.isotropic import isotropic as isotropic
