"""Data sets as plain arrays; nothing is downloaded."""

from pdoconv.data.flows import FlowPairs as FlowPairs
from pdoconv.data.flows import flow_pairs as flow_pairs
from pdoconv.data.mnist_rot import MnistRot as MnistRot
from pdoconv.data.mnist_rot import mnist_rot as mnist_rot
from pdoconv.data.shapes import Volumes as Volumes
from pdoconv.data.shapes import shapes as shapes
from pdoconv.data.splits import DataSet as DataSet
from pdoconv.data.splits import Split as Split
