"""One file a paper's network."""

from inspect import isfunction as _isfunction

from pdoconv.files.layers import LAYERS as _LAYERS
from pdoconv.files.made import noted as _noted
from pdoconv.models.denoiser import denoiser as denoiser
from pdoconv.models.dncnn import dncnn as dncnn
from pdoconv.models.e2cnn import e2cnn as e2cnn
from pdoconv.models.hexaconv import hexaconv_p6 as hexaconv_p6
from pdoconv.models.hexaconv import hexaconv_p6m as hexaconv_p6m
from pdoconv.models.hnet import hnet as hnet
from pdoconv.models.inputs import Normalise as Normalise
from pdoconv.models.mnist_large import mnist_large as mnist_large
from pdoconv.models.mnist_plain import mnist_plain as mnist_plain
from pdoconv.models.mnist_small import mnist_small as mnist_small
from pdoconv.models.neural_ode import neural_ode as neural_ode
from pdoconv.models.neural_ode import neural_ode_resnet as neural_ode_resnet
from pdoconv.models.neural_pde import neural_pde as neural_pde
from pdoconv.models.orn import orn8_align as orn8_align
from pdoconv.models.p4cnn import p4cnn as p4cnn
from pdoconv.models.p4cnn import z2cnn as z2cnn
from pdoconv.models.pde_restorer import pde_restorer as pde_restorer
from pdoconv.models.pretrained import card as card
from pdoconv.models.pretrained import load as load
from pdoconv.models.pretrained import pretrained as pretrained
from pdoconv.models.ptn import ptn as ptn
from pdoconv.models.registry import create as create
from pdoconv.models.registry import names as names
from pdoconv.models.resnet import PreActResNet as PreActResNet
from pdoconv.models.resnets import gcnn_resnet44_p4m as gcnn_resnet44_p4m
from pdoconv.models.resnets import pdo_resnet26_p6 as pdo_resnet26_p6
from pdoconv.models.resnets import pdo_resnet26_p6m as pdo_resnet26_p6m
from pdoconv.models.resnets import pdo_resnet44_p8 as pdo_resnet44_p8
from pdoconv.models.resnets import pdo_wrn26_p8 as pdo_wrn26_p8
from pdoconv.models.resnets import resnet_1001 as resnet_1001
from pdoconv.models.resnets import wrn_28_10 as wrn_28_10
from pdoconv.models.resnets import z2_resnet26 as z2_resnet26
from pdoconv.models.resnets import z2_resnet44 as z2_resnet44
from pdoconv.models.roteqnet import roteqnet as roteqnet
from pdoconv.models.sfcnn import sfcnn as sfcnn
from pdoconv.models.tnrd import tnrd as tnrd
from pdoconv.models.unet import UNet as UNet
from pdoconv.models.unet import unet as unet
from pdoconv.models.volume_small import volume_plain as volume_plain
from pdoconv.models.volume_small import volume_small as volume_small

_TOOLS = ("card", "create", "load", "names", "pretrained")
_LAYERS["Normalise"] = Normalise
for _name, _function in list(globals().items()):  # so that pdoconv.save can write by which of these a network was made
    if _isfunction(_function) and _function.__module__.startswith("pdoconv.models.") and _name not in _TOOLS:
        globals()[_name] = _noted(_function)
