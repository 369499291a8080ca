"""Read real files on one time axis: seconds from the first shown frame.

Whatever its container, a recording is described by `probe` and read by `open_video`. A still image is one of 1/25 s:

>>> import tempfile, torch
>>> from PIL import Image
>>> from avssl.media import open_video
>>> with tempfile.TemporaryDirectory() as folder:
...     Image.new("RGB", (64, 48), "red").save(f"{folder}/red.png")
...     with open_video(f"{folder}/red.png") as reader:
...         print(reader.info.duration, reader.frames(torch.tensor([0.0, 0.02])).shape)
0.04 torch.Size([2, 3, 48, 64])
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
