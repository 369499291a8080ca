from .data import Data as Data
from .muon import Muon as Muon
from .run import pretrain as pretrain
