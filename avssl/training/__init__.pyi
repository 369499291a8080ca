from .config import parse as parse
from .config import train as train
from .data import Data as Data
from .data import Datasets as Datasets
from .optimisers import LARS as LARS
from .optimisers import Muon as Muon
from .run import Recipe as Recipe
from .run import pretrain as pretrain
