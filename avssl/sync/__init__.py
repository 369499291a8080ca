"""The synchroniser network, and how the offset between sound and picture is found."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
