"""Sync datasets: raw recordings to clips whose sound is in its place, and a reason for everything left out.

`build` takes folders of recordings through all stages. The parts work alone, too: here a recording whose sound is 0.2 s
late, normalised, cut into a clip and scored.

>>> import tempfile
>>> from pathlib import Path
>>> from avssl.avsync import Cut, Job, OnsetScorer, Options, Shots, process
>>> from avssl.synthetic.clapper import write_clapper
>>> video = write_clapper(Path(tempfile.mkdtemp()) / "late.mov", late=0.2, frames=75)
>>> options = Options(cut=Cut(seconds=2.8), shots=Shots(threshold=0))
>>> process(Job(video, "sha256", video.parent, options, OnsetScorer(max_offset=0.6)))["clips"][0]["offset"]
0.2
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
