"""Collections of recordings: manifests, indexing, annotations and training-ready copies.

>>> from avssl.catalog import Manifest
>>> facts = {"root": "/videos", "duration": 2.0, "fps": 25.0, "height": 48, "width": 64, "backends": ["pyav"]}
>>> rows = [facts | {"path": f"{name}/1.mp4", "status": "ok", "label": name} for name in ("walk", "run")]
>>> videos = Manifest.from_rows(rows)
>>> videos.classes, videos[0].label, videos[0].size
(['run', 'walk'], 1, (48, 64))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
