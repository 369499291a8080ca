"""Image pretext tasks, run on single frames."""

from avssl.methods.frame.context_prediction import ContextPrediction
from avssl.methods.frame.deep_perm_net import DeepPermNet
from avssl.methods.frame.image_cpc import ImageCPC
from avssl.methods.frame.jigsaw import Jigsaw
from avssl.methods.frame.rotnet import RotNet
from avssl.methods.frame.selfie import Selfie

__all__ = ["ContextPrediction", "DeepPermNet", "ImageCPC", "Jigsaw", "RotNet", "Selfie"]
