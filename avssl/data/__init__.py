"""Datasets of clips: samplers, transforms, the dataset and its loader.

>>> import torch
>>> from pathlib import Path
>>> from avssl.data import samplers
>>> from avssl.media import VideoInfo
>>> info = VideoInfo(Path("video.mp4"), duration=10.0, fps=25.0, size=(240, 320))
>>> samplers.UniformClips(clips=3, num_frames=2, step=0.5)(info, torch.Generator()).times.tolist()  # seconds
[[0.0, 0.5], [4.5, 5.0], [9.0, 9.5]]
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
