"""One file a paper's network."""

from pdoconv.models.dncnn import dncnn as dncnn
from pdoconv.models.e2cnn import e2cnn as e2cnn
from pdoconv.models.hexaconv import hexaconv_p6 as hexaconv_p6
from pdoconv.models.hexaconv import hexaconv_p6m as hexaconv_p6m
from pdoconv.models.hnet import hnet as hnet
from pdoconv.models.mnist_plain import mnist_plain as mnist_plain
from pdoconv.models.mnist_small import mnist_small as mnist_small
from pdoconv.models.neural_ode import neural_ode as neural_ode
from pdoconv.models.neural_ode import neural_ode_resnet as neural_ode_resnet
from pdoconv.models.neural_pde import neural_pde as neural_pde
from pdoconv.models.orn import orn8_align as orn8_align
from pdoconv.models.p4cnn import p4cnn as p4cnn
from pdoconv.models.p4cnn import z2cnn as z2cnn
from pdoconv.models.pde_restorer import pde_restorer as pde_restorer
from pdoconv.models.ptn import ptn as ptn
from pdoconv.models.registry import create as create
from pdoconv.models.registry import names as names
from pdoconv.models.resnet import PreActResNet as PreActResNet
from pdoconv.models.resnet import gcnn_resnet44_p4m as gcnn_resnet44_p4m
from pdoconv.models.resnet import resnet_1001 as resnet_1001
from pdoconv.models.resnet import wrn_28_10 as wrn_28_10
from pdoconv.models.roteqnet import roteqnet as roteqnet
from pdoconv.models.sfcnn import sfcnn as sfcnn
from pdoconv.models.tnrd import tnrd as tnrd
from pdoconv.models.volume_small import volume_plain as volume_plain
from pdoconv.models.volume_small import volume_small as volume_small
