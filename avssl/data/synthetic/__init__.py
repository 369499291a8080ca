"""A rendered audio-visual world of known ground truth, written once as real H.264/AAC files: docs/synthetic.md."""

from avssl.data.synthetic.camera import EgoMotion
from avssl.data.synthetic.scene import Scene
from avssl.data.synthetic.world import CLASSES, GROUP, VIEW, World
from avssl.data.synthetic.writer import default_folder, write_world

__all__ = ["CLASSES", "GROUP", "VIEW", "EgoMotion", "Scene", "World", "default_folder", "write_world"]
