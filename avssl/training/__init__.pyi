from .config import parse as parse
from .config import train as train
from .data import Data as Data
from .data import Datasets as Datasets
from .muon import Muon as Muon
from .run import pretrain as pretrain
