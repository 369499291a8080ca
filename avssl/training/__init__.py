"""Pretraining: configs, runs, exact resume, checkpoints, logs. Lightning is used here, and where evaluation fine-tunes.

>>> from avssl.training import parse
>>> parser, config = parse(["shuffle_learn", "--data.root=VIDEOS"])
>>> config.method.class_path, config.data.root, config.trainer.max_steps
('avssl.methods.ShuffleLearn', 'VIDEOS', 1500)
>>> method = parser.instantiate(config).method
>>> type(method).__name__, method.sampler.windows
('ShuffleLearn', 4)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
