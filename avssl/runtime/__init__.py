"""Files, processes, devices, seeds and progress: every room stands on them, and they know nothing of video."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
