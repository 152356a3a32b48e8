"""Convolutions equivariant to rotations and reflections, built from partial differential operators."""

from pdoconv import data as data
from pdoconv import filters as filters
from pdoconv import measure as measure
from pdoconv import models as models
from pdoconv import nn as nn
from pdoconv import operators as operators
from pdoconv import stencils as stencils
from pdoconv.export import export as export
from pdoconv.fields import FieldType as FieldType
from pdoconv.groups import Group as Group
from pdoconv.measure import equivariance_curve as equivariance_curve
from pdoconv.measure import equivariance_error as equivariance_error
from pdoconv.nn import AvgPool1d as AvgPool1d
from pdoconv.nn import AvgPool2d as AvgPool2d
from pdoconv.nn import AvgPool3d as AvgPool3d
from pdoconv.nn import BatchNorm1d as BatchNorm1d
from pdoconv.nn import BatchNorm2d as BatchNorm2d
from pdoconv.nn import BatchNorm3d as BatchNorm3d
from pdoconv.nn import BlurPool1d as BlurPool1d
from pdoconv.nn import BlurPool2d as BlurPool2d
from pdoconv.nn import BlurPool3d as BlurPool3d
from pdoconv.nn import FieldDropout as FieldDropout
from pdoconv.nn import GroupConv1d as GroupConv1d
from pdoconv.nn import GroupConv2d as GroupConv2d
from pdoconv.nn import GroupConv3d as GroupConv3d
from pdoconv.nn import GroupPool as GroupPool
from pdoconv.nn import MaxPool1d as MaxPool1d
from pdoconv.nn import MaxPool2d as MaxPool2d
from pdoconv.nn import MaxPool3d as MaxPool3d
from pdoconv.nn import PDOConv1d as PDOConv1d
from pdoconv.nn import PDOConv2d as PDOConv2d
from pdoconv.nn import PDOConv3d as PDOConv3d
from pdoconv.nn import Sequential as Sequential
from pdoconv.pointgroups import cyclic as cyclic
from pdoconv.pointgroups import dihedral as dihedral
from pdoconv.pointgroups import group as group
from pdoconv.pointgroups import icosahedral as icosahedral
from pdoconv.pointgroups import octahedral as octahedral
from pdoconv.pointgroups import reflection as reflection
from pdoconv.pointgroups import tetrahedral as tetrahedral

__version__ = "0.1.0"
