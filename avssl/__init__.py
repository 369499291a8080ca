"""avssl: video and audio-visual self-supervised learning.

Names are imported on first use, so that ``import avssl`` is quick; ``__init__.pyi`` lists them.

>>> import avssl, torch
>>> video = avssl.VideoInfo("walk.mp4", duration=4.0, fps=25.0, size=(128, 128))
>>> sampler = avssl.samplers.RandomClips(clips=2, num_frames=8, step=0.1)
>>> sampler(video, torch.Generator().manual_seed(0)).times.shape  # the seconds to read
torch.Size([2, 8])
>>> avssl.encoders.R3D(width=8)(torch.rand(2, 8, 3, 32, 32)).shape  # clips to features
torch.Size([2, 64])
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
