from .network import Synchroniser as Synchroniser
from .network import TwoStream as TwoStream
from .offset import Curve as Curve
from .offset import Offset as Offset
from .offset import describe_offset as describe_offset
from .offset import find_offset as find_offset
from .offset import load_synchroniser as load_synchroniser
