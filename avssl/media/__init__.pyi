from .backends import open_video as open_video
from .info import AudioClip as AudioClip
from .info import AudioInfo as AudioInfo
from .info import MediaError as MediaError
from .info import VideoInfo as VideoInfo
from .info import VideoReader as VideoReader
from .probing import probe as probe
