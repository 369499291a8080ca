"""Networks without padding in time: all windows of a clip at once are what each is alone; channels delay nothing."""

from __future__ import annotations

import torch

from avssl.encoders import FrameWindows, SoundWindows
from avssl.methods.audiovisual.channel import Channel
from avssl.sync.network import TwoStream, cut_audio


def streams() -> TwoStream:
    torch.manual_seed(0)
    return TwoStream(FrameWindows(4), SoundWindows(8), 16, 8, (1, 4), num_frames=5, step=0.04).eval()


def test_windows_of_a_clip_are_those_seen_and_heard_alone():
    network, clips, samples = streams(), torch.randn(2, 9, 3, 32, 32), torch.randn(2, 9 * 640)
    together = network.embed_windows(clips)
    for start in range(5):
        alone = network.embed_video(clips[:, start : start + 5])
        torch.testing.assert_close(together[:, start], alone, atol=1e-5, rtol=0)
    starts = torch.arange(5) * 0.04
    pieces = cut_audio(samples, starts, network.samples, network.rate)
    alone = network.embed_audio(pieces.flatten(0, 1)).unflatten(0, (2, 5))
    torch.testing.assert_close(network.embed_along(samples, starts), alone, atol=1e-5, rtol=0)
    assert network.audio_encoder.steps(network.samples) == network.audio_encoder.maps(pieces[0]).shape[2] == 4


def test_the_untrained_network_sees_change_only():
    network = FrameWindows(4).eval()
    still = torch.randn(1, 1, 3, 32, 32).expand(1, 7, 3, 32, 32)
    assert network.maps(still).abs().max() < 1e-4


def test_a_channel_delays_nothing_and_is_off_where_nothing_is_trained():
    torch.manual_seed(0)
    sound = torch.randn(24, 8000) * 0.05 * (torch.rand(24, 8000) < 0.02)  # clicks
    channel = Channel(narrow=1.0, room=1.0, noise=1.0)
    assert channel.eval()(sound) is sound
    heard = channel.train()(sound)
    assert heard.shape == sound.shape
    assert heard.abs().max() <= 1
    assert not torch.equal(heard, channel(sound))
    across = torch.fft.irfft(torch.fft.rfft(heard) * torch.fft.rfft(sound).conj())  # correlation at each delay
    delays = across.argmax(1)
    assert (torch.minimum(delays, 8000 - delays) <= 1).float().mean() > 0.9  # samples
    quiet = Channel(gain=0.0, equaliser=0.0, narrow=0.0, room=0.0, noise=0.0)
    torch.testing.assert_close(quiet(sound), sound, atol=1e-5, rtol=0)
