"""Image pretext tasks, run on single frames."""

from avssl.methods.frame.aet import AET
from avssl.methods.frame.coach import CoachedContextEncoder
from avssl.methods.frame.colourisation import Colourisation
from avssl.methods.frame.context_encoder import ContextEncoder
from avssl.methods.frame.context_prediction import ContextPrediction
from avssl.methods.frame.counting import Counting
from avssl.methods.frame.deep_perm_net import DeepPermNet
from avssl.methods.frame.image_cpc import ImageCPC
from avssl.methods.frame.jigsaw import Jigsaw
from avssl.methods.frame.multi_task import MultiTask
from avssl.methods.frame.ranking import Ranking
from avssl.methods.frame.rotnet import RotNet
from avssl.methods.frame.s4l import S4L
from avssl.methods.frame.selfie import Selfie
from avssl.methods.frame.split_brain import SplitBrain, SplitBrainDepth

__all__ = [
    "AET",
    "S4L",
    "CoachedContextEncoder",
    "Colourisation",
    "ContextEncoder",
    "ContextPrediction",
    "Counting",
    "DeepPermNet",
    "ImageCPC",
    "Jigsaw",
    "MultiTask",
    "Ranking",
    "RotNet",
    "Selfie",
    "SplitBrain",
    "SplitBrainDepth",
]
