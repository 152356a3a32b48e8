"""One file a paper's network."""

from pdoconv.models.mnist_small import mnist_small as mnist_small
