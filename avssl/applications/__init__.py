"""Applications: what trained encoders are good for beyond one protocol, each a command of ``avssl``.

Their numbers stand beside chance, a hand-made baseline and an interval. `auroc` is what every detector is judged by:

    >>> from avssl.applications import auroc
    >>> found = auroc(scores=[0.1, 0.4, 0.35, 0.8], odd=[False, False, True, True], groups=["a", "b", "a", "b"])
    >>> found.value  # chance is 0.5
    0.75
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
