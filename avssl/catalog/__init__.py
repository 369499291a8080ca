"""Collections of recordings: manifests, indexing, annotations and training-ready copies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
