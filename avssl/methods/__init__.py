"""Pretext tasks, one file per paper, each imported on first use.

A method takes a batch of normalised clips and returns a loss, metrics, and the chance level of each metric:

>>> import torch
>>> from avssl import clips, encoders, methods
>>> method = methods.RotNet(encoders.ResNet(18, width=8))
>>> batch = clips.Clips(torch.randn(2, 4, 1, 3, 32, 32), torch.zeros(2, 4, 1))
>>> sorted(method(batch))
['accuracy', 'chance/accuracy', 'loss']

To add one: a module, a line in ``__init__.pyi``, a config, and a page in ``docs/methods``.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
