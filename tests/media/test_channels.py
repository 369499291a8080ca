"""Sound channel by channel."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from avssl.media import MediaError, open_video, probe

TONES = (300, 500, 900, 1400)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of four tones, one per channel, with pictures."""
    path = tmp_path_factory.mktemp("channels") / "four.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("flac", rate=16000, layout="quad")
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * k, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            container.mux(video.encode(frame))
        tones = np.stack([np.sin(2 * np.pi * f * np.arange(16000) / 16000) for f in TONES])
        packed = np.rint(tones * 8000).astype(np.int16).T.reshape(1, -1)
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(packed), "s16", "quad")
        sound.sample_rate, sound.pts = 16000, 0
        container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    return path


@pytest.mark.parametrize("rate", [16000, 12000])
def test_each_channel_is_read_in_its_place_and_one_is_their_mean(film: Path, rate: int) -> None:
    with open_video(film) as reader:
        four = reader.audio(0.25, 0.75, rate, 4).samples
        one = reader.audio(0.25, 0.75, rate)
        two = reader.audio(0.25, 0.75, rate, 2).samples
    assert four.shape == (4, rate // 2)
    loudest = torch.fft.rfft(four).abs().argmax(1) * 2
    assert loudest.tolist() == list(TONES)
    assert torch.equal(two, four[:2])
    assert one.samples.shape == (rate // 2,)
    assert torch.allclose(four.mean(0), one.samples, atol=1e-5)
    with open_video(film) as reader:
        wide = reader.audio(-0.5, 1.5, rate, 4)
    assert wide.valid == pytest.approx((0, 1))
    assert not wide.samples[:, : rate // 4].any()


def test_more_channels_than_there_are_is_an_error(film: Path) -> None:
    with open_video(film) as reader, pytest.raises(MediaError, match="has 4 channels, 6 were asked for") as caught:
        reader.audio(0, 1, 16000, 6)
    assert caught.value.code == "few_channels"


def test_real_recordings_of_six_channels(shared_data: Path) -> None:
    path = shared_data / "spatial_360" / "redownloaded_from_YT.mp4"
    info = probe(path)
    assert info.audio is not None
    assert info.audio.channels == 6
    with open_video(path, info=info) as reader:
        read = reader.audio(2.0, 3.0, 48000, 6).samples.numpy()
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        frames = list(container.decode(stream))
    whole = np.concatenate([frame.to_ndarray() for frame in frames], axis=1)  # planes as FFmpeg decodes them
    first = round((2.0 + info.origin) * 48000) - round(float(frames[0].pts * stream.time_base) * 48000)
    assert np.abs(read - whole[:, first : first + 48000]).max() < 1e-4
    assert len({round(float(np.abs(channel).mean()), 6) for channel in read}) > 3
