"""Targets made from pixels, or recorded beside them: optical flow, edges, moving objects, depth, camera motion."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
