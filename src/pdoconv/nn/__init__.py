"""Layers for plain tensors; field types live on the layers as `in_type` and `out_type`."""

from pdoconv.nn.container import Sequential as Sequential
from pdoconv.nn.conv import GroupConv2d as GroupConv2d
from pdoconv.nn.conv import PDOConv2d as PDOConv2d
from pdoconv.nn.dropout import FieldDropout as FieldDropout
from pdoconv.nn.norm import BatchNorm2d as BatchNorm2d
from pdoconv.nn.pool import AvgPool2d as AvgPool2d
from pdoconv.nn.pool import BlurPool2d as BlurPool2d
from pdoconv.nn.pool import GroupPool as GroupPool
from pdoconv.nn.pool import MaxPool2d as MaxPool2d
