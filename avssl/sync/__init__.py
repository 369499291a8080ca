"""The synchroniser networks, and the offset between sound and picture that they find: docs/sync.md.

`find_offset` slides the sound of a recording along its frames and returns the offset at which a network, trained by
SyncNet, AVTS or OwensEfros, finds them closest. The network compares short clips with sounds:

>>> import torch
>>> from avssl.encoders import VGG, EarlyFusion
>>> from avssl.sync import TwoStream
>>> network = TwoStream(EarlyFusion(8, 10), VGG(4), hidden=32, out=16, moments=(1, 8), num_frames=5, step=0.04)
>>> clips, sounds = torch.randn(2, 5, 3, 32, 32), torch.randn(3, network.samples)
>>> network.distances(clips, sounds, which=torch.tensor([[0, 1], [1, 2]])).shape
torch.Size([2, 2])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
