"""How a network is trained, whatever its loss: rates, decay, optimisers, averages, checkpoints, logs.

Pretraining and fine-tuning share it. What users name (`avssl.training.Recipe`, `LARS`, `Muon`) is exported there.
"""
