"""Real files on one time axis: seconds from the first shown frame."""

from avssl.media.backends import open_video
from avssl.media.info import AudioClip, AudioInfo, MediaError, VideoInfo, VideoReader
from avssl.media.probe import probe

__all__ = ["AudioClip", "AudioInfo", "MediaError", "VideoInfo", "VideoReader", "open_video", "probe"]
