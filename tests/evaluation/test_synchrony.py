import csv
import json
import sys
import wave
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pytest
import torch

from avssl.encoders import VGG, EarlyFusion, save_encoder
from avssl.evaluation.audio import audio_probe, read_sound
from avssl.evaluation.pictures import offset_picture
from avssl.evaluation.probes import LinearProbe
from avssl.evaluation.synchrony import Displaced, auc
from avssl.media import AudioClip, AudioInfo, VideoInfo
from avssl.media.regions import WHOLE, note_region
from avssl.sync.network import Synchroniser, TwoStream
from avssl.sync.offset import Curve, curve, describe_offset, find_offset, joined, offset_from, offset_grid

FLASHES = (0.36, 0.92, 1.16, 1.68, 2.2, 2.32)
TOOLS = Path(__file__).parents[2] / "tools"
CARD = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "size": [8, 8]}


class FlashClick:
    """Flashes of one frame, and clicks that come ``late`` seconds after them."""

    def __init__(self, late, start=0.0, duration=2.8):
        self.late = late
        self.info = VideoInfo(Path("f.mp4"), 2.8, 25.0, (8, 8), AudioInfo(16000, 1, start, duration, "aac"))

    def frames(self, times, size=None):
        shown = (times * 25 + 1e-6).floor() / 25
        bright = [any(abs(t - flash) < 0.01 for flash in FLASHES) for t in shown.tolist()]
        return (255 * torch.tensor(bright)).to(torch.uint8)[:, None, None, None].expand(-1, 3, *size)

    def audio(self, start, stop, rate, channels=1):
        samples = torch.zeros(round((stop - start) * rate))
        for flash in FLASHES:
            place = round((flash + self.late - start) * rate)
            if 0 <= place < len(samples) - 300:
                samples[place : place + 300] = 0.5
        return AudioClip(samples, (start, stop))


class Compare(Synchroniser):
    """Looks when it is bright, listens when it is loud: knows nothing of any video's offset."""

    def __init__(self):
        super().__init__(1, {}, num_frames=5, step=0.04, rate=16000)
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.card = CARD

    def distances(self, clips, sounds, which):
        bright = clips.mean((2, 3, 4))  # [P, T]
        loud = (sounds.unflatten(1, (5, -1)).amax(2) > 0.1).float()  # [Q, T]
        return (bright[:, None] - loud[which]).abs().mean(2)


def test_shots_that_share_an_offset_are_joined_by_their_windows():
    grid = offset_grid(0.4, 0.02)
    parts = [curve(FlashClick(0.12, duration=end), Compare(), grid) for end in (2.8, 1.2)]
    both = joined(parts)
    place = [int((part.offsets - 0.12).abs().argmin()) for part in (both, *parts)]
    windows = [part.windows[where].item() for part, where in zip((both, *parts), place, strict=True)]
    assert windows[0] == windows[1] + windows[2]
    assert both.seconds[place[0]] == sum(p.seconds[i] for p, i in zip(parts, place[1:], strict=True))
    alone = sum(w * p.distances[i] for w, p, i in zip(windows[1:], parts, place[1:], strict=True)) / windows[0]
    assert both.distances[place[0]].item() == pytest.approx(alone.item())
    assert joined(parts[:1]).distances.tolist() == pytest.approx(parts[0].distances.tolist())
    with pytest.raises(ValueError, match="no curve"):
        joined([])


@pytest.mark.parametrize("late", [0.0, 0.12, -0.2])
def test_a_positive_offset_is_late_sound(late):
    seconds, confidence, found = find_offset(FlashClick(late), Compare(), reach=0.4, resolution=0.04)
    assert seconds == pytest.approx(late, abs=1e-6)
    assert confidence > found.distances.median().item() / 3  # a dip of one offset has half of the smoothing's weight
    assert len(found.offsets) == len(found.distances) == 21
    assert found.distances.min() == pytest.approx(0, abs=1e-3)


def simulated(rng, depth):
    """Return a curve of noise over fewer windows towards its ends, with a dip 60 ms to either side of 0.1 s."""
    offsets = offset_grid(0.4, 0.02)
    windows = (24 - 50 * offsets.abs()).round().long()
    dip = depth * (1 - (offsets - 0.1).abs() / 0.06).clamp(min=0)
    noise = torch.from_numpy(rng.standard_normal(len(offsets))) / windows.double().sqrt()
    return Curve(offsets, 1 - dip + 0.2 * noise, windows, windows.double())


def test_noise_is_low_anywhere_alike_however_few_windows_there_are():
    rng = np.random.default_rng(0)
    curves = [simulated(rng, 0.0) for _ in range(1000)]
    ends = curves[0].offsets.abs() > 0.25  # of all offsets
    found = np.mean([abs(offset_from(one).seconds) > 0.25 for one in curves])
    lowest = np.mean([ends[one.distances.argmin()].item() for one in curves])
    assert abs(found - ends.double().mean().item()) < 0.08
    assert lowest > found + 0.2  # the lowest point is mostly where few windows are


def test_the_middle_of_a_wide_dip_is_found_more_often_than_its_lowest_point():
    rng = np.random.default_rng(0)
    curves = [simulated(rng, 0.15) for _ in range(500)]
    right = np.mean([abs(offset_from(one).seconds - 0.1) < 0.041 for one in curves])
    lowest = np.mean([abs(one.offsets[one.distances.argmin()].item() - 0.1) < 0.041 for one in curves])
    assert right > lowest + 0.2 > 0.4


def test_a_sharp_dip_with_one_slow_side_is_found_where_it_is_lowest():
    offsets = offset_grid(0.4, 0.02)
    rise = torch.where(offsets < 0.1, (0.1 - offsets) / 0.2, (offsets - 0.1) / 0.02).clamp(max=1)
    ripple = 0.002 * torch.cos(400 * offsets)
    found = offset_from(Curve(offsets, 1 + rise + ripple, torch.ones(41), torch.ones(41)))
    assert found.seconds == pytest.approx(0.1)


def test_displaced_sound_adds_to_the_offset_and_may_be_anothers():
    reader = FlashClick(0.08)
    assert find_offset(Displaced(reader, -0.2), Compare(), 0.4, 0.04).seconds == pytest.approx(-0.12)
    strange = Displaced(reader, 0.0, FlashClick(0.2))
    assert find_offset(strange, Compare(), 0.4, 0.04).seconds == pytest.approx(0.2)


def test_a_network_is_shown_the_part_of_the_picture_that_it_learnt_from(tmp_path):
    asked = []

    class Whole(FlashClick):
        def frames(self, times, size=None):
            asked.append(size)
            frames = super().frames(times, size).clone()
            frames[..., : size[0] // 2, :] = 0  # what happens, happens in the lower half
            return frames

    reader, network = Whole(0.12), Compare()
    network.card = {**CARD, "region": [0.25, 0.5, 0.75, 1.0]}
    found = find_offset(reader, network, 0.4, 0.04)
    assert found.seconds == pytest.approx(0.12)
    assert found.curve.distances.min() == pytest.approx(0, abs=1e-3)
    assert set(asked) == {(16, 16)}  # so that the part is 8 x 8
    note_region(tmp_path, (0.25, 0.5, 0.75, 1.0))
    reader.info = replace(reader.info, path=tmp_path / "deep" / "copy.mp4")  # shows this part alone
    find_offset(reader, network, 0.4, 0.04)
    assert asked[-1] == (8, 8)
    note_region(tmp_path, (0.3, 0.5, 0.75, 1.0))
    with pytest.raises(ValueError, match="lies outside"):
        find_offset(reader, network, 0.4, 0.04)
    assert find_offset(reader, network, 0.4, 0.04, region=WHOLE).curve.distances.min() > 0.01


def test_only_sound_that_is_there_counts():
    found = curve(FlashClick(0.0, start=0.4, duration=1.2), Compare(), offset_grid(2.0, 0.04))
    assert found.windows.min() >= found.windows.max() / 3
    assert found.seconds.tolist() == pytest.approx((0.04 * (found.windows + 4)).tolist())  # of five frames, one apart
    assert found.offsets.min() > -2
    assert found.distances[found.offsets.abs().argmin()] == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="share no window"):
        curve(FlashClick(0.0, start=9.0), Compare(), offset_grid(0.4, 0.04))


def test_words_and_picture(tmp_path, monkeypatch):
    assert describe_offset(-0.12) == "sound is 120 ms early"
    assert describe_offset(0.04) == "sound is 40 ms late"
    assert describe_offset(0.0) == "in sync"
    offset_picture({"f.mp4: late": find_offset(FlashClick(0.12), Compare(), 0.4, 0.04)}, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    drawn = []
    monkeypatch.setattr("avssl.evaluation.pictures._save", lambda figure, path: drawn.append(figure))
    found = find_offset(FlashClick(0.12), Compare(), 0.4, 0.04)
    for count in (8, 80):
        offset_picture({f"{number}": found for number in range(count)}, tmp_path / "many.png")
    assert [figure.axes[0].get_legend() is None for figure in drawn] == [False, True]  # 80 names would hide the curves
    assert not found.at_edge
    assert find_offset(FlashClick(0.12), Compare(), 0.12, 0.04).at_edge


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    positive, negative = rng.integers(0, 5, 20).astype(float), [rng.integers(0, 4, 3).tolist() for _ in range(20)]
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for row in negative for n in row]
    assert auc(positive, negative) == pytest.approx(np.mean(pairs))


def tool(name, *words):
    return forked.run([sys.executable, TOOLS / name, *words])


def test_the_tools_measure_real_recordings(tmp_path, shared_data, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    faces = tmp_path / "faces"
    faces.mkdir()
    for source in sorted((shared_data / "talking_faces" / "clips").iterdir())[:2]:
        (faces / source.name).write_bytes(source.read_bytes())
    torch.manual_seed(0)
    network = TwoStream(EarlyFusion(8, depth=10), VGG(8), 32, 16, (1, 4), 5, 0.04)
    save_encoder(network, tmp_path / "run" / "sync", {**CARD, "size": [32, 32]})
    told = tool("evaluate_av.py", "sync", faces, f"--run={tmp_path / 'run'}")
    assert told.returncode == 0, told.stderr
    found = json.loads((tmp_path / "run" / "sync_faces.json").read_text())
    assert (found["videos"], found["left_out"], len(found["error_ms"]["each"])) == (2, 0, 2)
    assert 0.1 < found["within_a_frame"]["chance"] < 0.2
    assert found["auc"]["ci95"][0] <= found["auc"]["value"] <= found["auc"]["ci95"][1]
    told = tool("sync.py", *sorted(faces.iterdir()), f"--run={tmp_path / 'run'}", "-o", tmp_path / "curves")
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("sound is") + told.stdout.count("in sync") >= 2
    assert (tmp_path / "curves" / "sync.png").stat().st_size > 5000
    videos = json.loads((tmp_path / "curves" / "sync.json").read_text())["videos"]
    lines = list(csv.DictReader((tmp_path / "curves" / "sync.csv").open()))
    assert [Path(row["video"]).name for row in videos] == [path.name for path in sorted(faces.iterdir())]
    assert [float(line["offset"]) for line in lines] == [row["offset"] for row in videos]
    assert [line["at_edge"] for line in lines] == [str(row["at_edge"]) for row in videos]
    told = tool("sync.py", faces / "nothing.mp4", f"--run={tmp_path / 'nowhere'}")
    assert told.returncode == 2
    assert "nowhere" in told.stderr


def write_tone(path, hertz, rng, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(4000) / rate) + 0.01 * rng.standard_normal(4000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())


def test_the_audio_probe_tells_tones_apart(tmp_path):
    rng = np.random.default_rng(0)
    for name, hertz in (("high", 2500), ("low", 300)):
        for number in range(12):
            write_tone(tmp_path / "tones" / name / f"{name}_{'abc'[number % 3]}_{number}.wav", hertz, rng)
    assert len(read_sound(tmp_path / "tones/high/high_a_0.wav", 16000)) == 8000
    save_encoder(VGG(8), tmp_path / "run" / "audio_encoder", CARD)
    results = audio_probe(tmp_path / "tones", tmp_path / "run", probe=LinearProbe(strengths=(1.0,)))
    assert results.chance == 0.5
    assert results.files == 24
    assert results.log_mel.top1.value == 1
    assert results.pretrained.top1.value > 0.9
    assert len(results.pretrained.top1.per_fold) == 3
