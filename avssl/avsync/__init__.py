"""Building audio-visual sync datasets: from raw recordings to clips whose sound is where it belongs."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
