"""One file a paper's network."""

from pdoconv.models.mnist_plain import mnist_plain as mnist_plain
from pdoconv.models.mnist_small import mnist_small as mnist_small
