"""avssl: video and audio-visual self-supervised learning.

What is listed in ``__init__.pyi`` is imported when it is first used, so that ``import avssl`` takes no time.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
