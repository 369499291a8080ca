"""Labellers: targets computed from frames, or recorded beside them: flow, edges, moving objects, depth, camera motion.

A labeller is a function of (frames after the transform, times, info). The dataset calls the one that a method names;
labels and `avssl.data` are on one floor, and neither imports the other.

>>> import torch
>>> from avssl.labels import OpticalFlow
>>> noise = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
>>> frame = torch.nn.functional.interpolate(noise, size=96, mode="bilinear").mul(255).byte()
>>> clip = torch.stack([frame, frame.roll(2, -1)], dim=1)  # [N, T, 3, H, W], moving two pixels to the right
>>> OpticalFlow()(clip, torch.tensor([[0.0, 0.04]]), None).flatten(3).median(3).values.round().abs().tolist()
[[[2.0, 0.0]]]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
