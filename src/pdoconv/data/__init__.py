"""Data sets as plain uint8 arrays; nothing is downloaded."""

from pdoconv.data.mnist_rot import MnistRot as MnistRot
from pdoconv.data.mnist_rot import Split as Split
from pdoconv.data.mnist_rot import mnist_rot as mnist_rot
