"""How far any module is from equivariant: over angle, frequency, size, depth. How near an image is to a clean one."""

from pdoconv.measure.cost import multiply_adds as multiply_adds
from pdoconv.measure.curves import equivariance_curve as equivariance_curve
from pdoconv.measure.curves import error_over_depth as error_over_depth
from pdoconv.measure.curves import error_over_size as error_over_size
from pdoconv.measure.curves import fitted_order as fitted_order
from pdoconv.measure.error import equivariance_error as equivariance_error
from pdoconv.measure.quality import psnr as psnr
from pdoconv.measure.quality import ssim as ssim
from pdoconv.measure.symbols import layer_error as layer_error
from pdoconv.measure.symbols import stencil_error as stencil_error
