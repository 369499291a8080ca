from .annotations import Annotation as Annotation
from .annotations import annotate as annotate
from .copies import Prepared as Prepared
from .copies import prepare as prepare
from .encode import CopyOptions as CopyOptions
from .index import build_index as build_index
from .index import open_manifest as open_manifest
from .manifest import Manifest as Manifest
