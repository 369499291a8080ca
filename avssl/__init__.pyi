from . import encoders as encoders
from . import methods as methods
from .catalog.index import build_index as build_index
from .catalog.index import open_manifest as open_manifest
from .catalog.manifest import Manifest as Manifest
from .clips import Clips as Clips
from .clips import ClipTimes as ClipTimes
from .data import samplers as samplers
from .data import transforms as transforms
from .data.dataset import ClipDataset as ClipDataset
from .encoders import load_audio_encoder as load_audio_encoder
from .encoders import load_encoder as load_encoder
from .evaluation.classifier.model import load_classifier as load_classifier
from .evaluation.run import evaluate as evaluate
from .media import MediaError as MediaError
from .media import VideoInfo as VideoInfo
from .media import open_video as open_video
from .media import probe as probe
from .sync.offset import find_offset as find_offset
from .sync.offset import load_synchroniser as load_synchroniser
from .training.run import pretrain as pretrain

__version__: str
