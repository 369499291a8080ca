"""Transfer: what a frozen or fine-tuned encoder is worth on labelled videos."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
