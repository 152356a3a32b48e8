"""One file a paper's network."""

from pdoconv.models.mnist_plain import mnist_plain as mnist_plain
from pdoconv.models.mnist_small import mnist_small as mnist_small
from pdoconv.models.volume_small import volume_plain as volume_plain
from pdoconv.models.volume_small import volume_small as volume_small
