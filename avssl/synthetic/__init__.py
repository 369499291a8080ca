"""A rendered audio-visual world with known ground truth, written once as real H.264/AAC files: docs/synthetic.md.

A `Scene` is a function of time: frames, masks, depth, optical flow and impacts follow from (world, index) alone.

>>> from avssl.synthetic import CLASSES, Scene, World
>>> scene = Scene(World(videos=16, size=64), index=0)
>>> CLASSES[scene.label], scene.frame(1.0).shape, scene.flow(1.0, 1.04).shape
('bounce', (64, 64, 3), (2, 64, 64))
>>> len(scene.sound()), scene.impacts.round(2)[:3].tolist()
(64000, [0.12, 0.37, 0.95])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
