"""Data sets as plain arrays; nothing is downloaded."""

from pdoconv.data.augment import Augment as Augment
from pdoconv.data.cifar import cifar10 as cifar10
from pdoconv.data.cifar import cifar100 as cifar100
from pdoconv.data.flows import FlowPairs as FlowPairs
from pdoconv.data.flows import flow_pairs as flow_pairs
from pdoconv.data.mnist_rot import MnistRot as MnistRot
from pdoconv.data.mnist_rot import mnist_rot as mnist_rot
from pdoconv.data.picture_classes import PictureList as PictureList
from pdoconv.data.picture_classes import list_pictures as list_pictures
from pdoconv.data.picture_classes import read_pictures as read_pictures
from pdoconv.data.pictures import as_image as as_image
from pdoconv.data.pictures import folder as folder
from pdoconv.data.pictures import patches as patches
from pdoconv.data.pictures import picture_hash as picture_hash
from pdoconv.data.pictures import pictures as pictures
from pdoconv.data.rotated import disc as disc
from pdoconv.data.rotated import oriented as oriented
from pdoconv.data.scenes import TextScenes as TextScenes
from pdoconv.data.scenes import synthetic as synthetic
from pdoconv.data.scenes import text as text
from pdoconv.data.shapes import Volumes as Volumes
from pdoconv.data.shapes import shapes as shapes
from pdoconv.data.splits import DataSet as DataSet
from pdoconv.data.splits import ImageSet as ImageSet
from pdoconv.data.splits import Split as Split
from pdoconv.data.stl10 import stl10 as stl10
