from . import encoders as encoders
from . import methods as methods
from .catalog.index import open_manifest as open_manifest
from .data import samplers as samplers
from .encoders import load_encoder as load_encoder
from .evaluation.run import evaluate as evaluate
from .media import open_video as open_video
from .media import probe as probe
from .sync.offset import find_offset as find_offset
from .training.run import pretrain as pretrain

__version__: str
