"""Networks over frames and clips, behind one interface; torchvision's where torchvision has them."""

from avssl.encoders.audio import VGG, AudioResNet, Waveform
from avssl.encoders.base import AudioEncoder, Encoder
from avssl.encoders.channels import GreyResNet, SplitResNet
from avssl.encoders.export import load_audio_encoder, load_encoder, read_card, save_encoder, weights_hash
from avssl.encoders.fused import Fused
from avssl.encoders.lstm import FrameLSTM
from avssl.encoders.video import MC3, R3D, RMC, S3D, EarlyFusion, R2Plus1D, ResNet
from avssl.encoders.vit import ViT

__all__ = [
    "MC3",
    "R3D",
    "RMC",
    "S3D",
    "VGG",
    "AudioEncoder",
    "AudioResNet",
    "EarlyFusion",
    "Encoder",
    "FrameLSTM",
    "Fused",
    "GreyResNet",
    "R2Plus1D",
    "ResNet",
    "SplitResNet",
    "ViT",
    "Waveform",
    "load_audio_encoder",
    "load_encoder",
    "read_card",
    "save_encoder",
    "weights_hash",
]
