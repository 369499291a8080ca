from .camera import EgoMotion as EgoMotion
from .scene import Scene as Scene
from .world import CLASSES as CLASSES
from .world import GROUP as GROUP
from .world import VIEW as VIEW
from .world import World as World
from .writer import default_folder as default_folder
from .writer import write_world as write_world
