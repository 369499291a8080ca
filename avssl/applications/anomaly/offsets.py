"""How well sound and picture fit at each moment of a video, over offsets: what a synchroniser sees of odd sounds."""

from __future__ import annotations

import torch
from scipy.ndimage import uniform_filter1d

from avssl.applications.anomaly.scoring import Reals
from avssl.data.samplers import clip_times, on_frames
from avssl.media import VideoInfo, open_video
from avssl.sync.network import Synchroniser
from avssl.sync.offset import AT_ONCE, offset_grid, sound_span

REACH, RESOLUTION = 0.4, 0.04  # seconds of the offsets that are compared
AROUND = 0.4  # seconds over which distances are averaged


@torch.inference_mode()
def local_curves(info: VideoInfo, network: Synchroniser) -> tuple[Reals, Reals]:
    """Return the seconds ``[M]`` of windows one step apart, and the distances ``[M, O]`` at each offset around each.

    Offsets go from -0.4 s to 0.4 s (the sound late). Windows are left out that are nearer than that to an end of the
    sound, where the averages are of fewer windows and some offsets have no sound of their own; none if the recording is
    so short that none would be left, and beyond its sound the first or last is taken.

    Raises:
        MediaError: if the recording has no sound or can't be read.
        ValueError: if picture or sound is shorter than a window.
    """
    begin, end = sound_span(info)
    span = network.num_frames * network.step
    count = int((info.duration - span) / network.step + 1e-6) + 1
    if count < 1 or end - begin < span:
        raise ValueError(
            f"{info.path}: picture ({info.duration:.2f} s) or sound ({end - begin:.2f} s) is shorter than the "
            f"synchroniser's window of {span:.2f} s"
        )
    starts = on_frames(torch.arange(count, dtype=torch.float64) * network.step, info)
    offsets = offset_grid(REACH, RESOLUTION)
    size = tuple(network.card["size"])
    mean, std = (torch.tensor(network.card[name]).view(3, 1, 1) for name in ("mean", "std"))
    found = []
    with open_video(info.path, info=info) as reader:
        sound = reader.audio(begin, end, network.rate).samples
        for part in starts.split(AT_ONCE):
            times = clip_times(part, network.num_frames, network.step)  # [P, T]
            frames = reader.frames(times.flatten(), (size[0], size[1])).unflatten(0, (len(part), -1))
            places = ((part[:, None] + offsets - begin) * network.rate).round().long()  # [P, O]
            wanted, which = places.clamp(0, len(sound) - network.samples).unique(return_inverse=True)
            sounds = sound[wanted[:, None] + torch.arange(network.samples)]
            found.append(network.distances((frames.float() / 255 - mean) / std, sounds, which).double())
    distances = uniform_filter1d(torch.cat(found).numpy(), max(1, round(AROUND / network.step)), axis=0, mode="nearest")
    inner = ((starts - begin >= REACH) & (end - span - starts >= REACH)).numpy()
    kept = inner if inner.any() else ~inner
    return (starts + span / 2).numpy()[kept], distances[kept]
