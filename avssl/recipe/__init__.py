"""How a network is trained, whatever its loss: rates, decay, optimisers, averages, checkpoints, logs.

Pretraining and fine-tuning share it. What users name (`avssl.training.Recipe`, `LARS`, `Muon`) is exported there.
The learning rate of a step, relative to the config's, rises and then falls along half a cosine:

>>> from avssl.recipe.recipe import Recipe
>>> from avssl.recipe.schedules import Timetable
>>> times = Timetable(Recipe(), "cosine", warmup="2 steps", steps=10)
>>> [round(times.rate(step, lr=0.1), 2) for step in (0, 1, 2, 6, 9)]
[0.5, 1.0, 1.0, 0.5, 0.04]
"""
