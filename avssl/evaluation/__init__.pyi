from .protocol import Protocol as Protocol
from .run import evaluate as evaluate
