"""A rendered audio-visual world of known ground truth, written once as real H.264/AAC files: docs/synthetic.md."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
