"""Evaluation of encoders by transfer to labelled videos, images and sounds.

`evaluate` runs a whole `Protocol`. Its parts work alone: a read-out scores the test videos of a fold from a bank of
features, and `cross_validate` makes accuracies with intervals of the scores. Random features stay near chance:

    >>> import numpy as np
    >>> from avssl.evaluation import Bank, Fold, Folds, LinearProbe, cross_validate
    >>> features = np.random.default_rng(0).normal(size=(60, 1, 8)).astype(np.float32)  # [videos, views, features]
    >>> bank = Bank(features, labels=np.arange(60) % 2, groups=np.arange(60), classes=2)
    >>> folds = Folds((Fold("half", train=tuple(range(30)), test=tuple(range(30, 60))),), groups=tuple("abcdef" * 10))
    >>> cross_validate([LinearProbe(strengths=(0.1,))], [bank], folds).top1.value < 0.7
    True
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
