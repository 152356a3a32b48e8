"""Data sets as plain uint8 arrays; nothing is downloaded."""

from pdoconv.data.mnist_rot import MnistRot as MnistRot
from pdoconv.data.mnist_rot import mnist_rot as mnist_rot
from pdoconv.data.shapes import Volumes as Volumes
from pdoconv.data.shapes import shapes as shapes
from pdoconv.data.splits import DataSet as DataSet
from pdoconv.data.splits import Split as Split
