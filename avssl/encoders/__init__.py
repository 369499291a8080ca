"""Encoders of frames, clips and sound behind one interface; torchvision's networks where torchvision has them.

Every encoder maps clips ``[B, T, 3, H, W]`` to feature maps and to one vector per clip, and can be exported:

>>> import tempfile, torch
>>> from avssl.encoders import ViT, load_encoder, save_encoder
>>> encoder, clips = ViT(width=64, depth=2, patch=8), torch.randn(2, 8, 3, 32, 32)
>>> encoder.maps(clips).shape, encoder(clips).shape
(torch.Size([2, 64, 4, 4, 4]), torch.Size([2, 64]))
>>> card = {"mean": [0.5] * 3, "std": [0.25] * 3, "size": [32, 32]}
>>> with tempfile.TemporaryDirectory() as folder:
...     load_encoder(save_encoder(encoder, folder, card)).num_features
64
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
