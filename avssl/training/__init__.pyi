from .config import parse as parse
from .config import train as train
from .data import Data as Data
from .data import Datasets as Datasets
from .lars import LARS as LARS
from .muon import Muon as Muon
from .recipe import Recipe as Recipe
from .run import pretrain as pretrain
