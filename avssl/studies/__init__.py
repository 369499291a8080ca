"""Studies: many runs compared under one budget, their tables, and audits of what the numbers rest on.

`run_plan` pretrains, judges and tabulates the methods of a `Plan`. The audits are `unseen` (tested clips that no
encoder saw), `motion_energy` (hand-made features under the same protocol), `colours` and `drift` (cues that solve a
pretext task without it).

>>> from avssl.studies import fit_cost
>>> minutes = {10: 0.8, 40: 1.1, 120: 1.9}  # CPU minutes of short runs; start-up varies, so that two must differ by 0.4
>>> start, per_step = fit_cost(minutes.get, budget=8)
>>> int((8 - start) / per_step)  # steps that a budget of 8 minutes lasts for
730
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
