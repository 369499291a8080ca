"""Files, processes, devices, seeds and progress; nothing here knows of video.

>>> import tempfile
>>> from pathlib import Path
>>> from avssl.runtime import key, write_text
>>> path = Path(tempfile.mkdtemp()) / "seed.txt"
>>> write_text(path, str(key(0, 1, 2)))  # complete or absent, even if this process is killed
>>> path.read_text()
'1535930435702422785'
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
