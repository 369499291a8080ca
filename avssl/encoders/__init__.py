"""Networks over frames and clips, behind one interface; torchvision's where torchvision has them."""

from avssl.encoders.base import Encoder
from avssl.encoders.export import load_encoder, read_card, save_encoder, weights_hash
from avssl.encoders.lstm import FrameLSTM
from avssl.encoders.video import MC3, R3D, S3D, R2Plus1D, ResNet
from avssl.encoders.vit import ViT

__all__ = [
    "MC3",
    "R3D",
    "S3D",
    "Encoder",
    "FrameLSTM",
    "R2Plus1D",
    "ResNet",
    "ViT",
    "load_encoder",
    "read_card",
    "save_encoder",
    "weights_hash",
]
