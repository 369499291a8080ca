from .builder import build as build
from .options import Options as Options
