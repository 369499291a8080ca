"""Spatial sound: what is written, and the distances by which it is judged."""

import json

import av
import numpy as np
import pytest
import torch

from avssl.applications.spatial import POINTS, earth_mover, measure, write_wav
from avssl.cli import main
from avssl.data import ambisonics
from avssl.synthetic import SphereScene, SphereWorld


def test_energy_is_moved_along_great_circles():
    ways = ambisonics.spread(POINTS).double().numpy()
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    apart = np.degrees(np.arccos((ways @ ways.T).clip(-1, 1)))
    np.fill_diagonal(apart, 0)
    here, there = np.eye(POINTS)[3], np.eye(POINTS)[40]
    assert earth_mover(here, there) == pytest.approx(apart[3, 40], abs=1e-6)
    assert earth_mover(here, (here + there) / 2) == pytest.approx(apart[3, 40] / 2, abs=1e-6)
    assert earth_mover(here, np.full(POINTS, 1 / POINTS)) == pytest.approx(apart[3].mean(), abs=1e-6)


def test_the_truth_has_no_error_and_the_other_side_all():
    sound = torch.from_numpy(SphereScene(SphereWorld(videos=2, seconds=2.0), 0).sound())
    right = measure(sound, sound, 16000)
    assert max(right.stft, right.envelope, right.emd) < 1e-4
    assert right.angle < 0.1
    opposite = measure(sound * torch.tensor([1.0, -1, -1, -1])[:, None], sound, 16000)
    assert opposite.stft == pytest.approx(4, abs=1e-3)
    assert opposite.angle > 179
    silent = measure(sound * torch.tensor([1.0, 0, 0, 0])[:, None], sound, 16000)
    assert (silent.stft, silent.envelope) == pytest.approx((1, 1), abs=1e-3)
    assert silent.angle == pytest.approx(90)


def test_a_video_gets_four_channels_of_its_own_length_a_picture_and_figures(spheres, tmp_path, capsys):
    words = ["--method.width=8", "--method.tracks=2", "--method.encoder.width=8", "--data.transform.size=32"]
    words += ["--data.batch_size=4", "--data.workers=0", "--trainer.max_steps=2", "--data.rounds=1"]
    assert main(["train", "spatial_audio", f"--data.root={spheres}", f"--runs={tmp_path}", *words]) == 0
    video = sorted(spheres.glob("panoramas/*.mkv"))[0]
    capsys.readouterr()
    assert main(["spatial", str(video), f"--run={tmp_path / 'spatial_audio'}", "-o", str(tmp_path / "out")]) == 0
    assert "angle (degrees)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out/spatial.json").read_text())
    assert 0 < found["errors"]["stft"] < 5
    assert 0 <= found["errors"]["angle"] <= 180
    with av.open(found["sound"]) as container:
        frames = [frame.to_ndarray() for frame in container.decode(container.streams.audio[0])]
        assert container.streams.audio[0].codec_context.layout.nb_channels == 4
    heard = np.concatenate(frames, axis=1).reshape(-1, 4).T / 2**31
    true = SphereScene(SphereWorld(videos=16, seconds=2.0, height=32), 0).sound()
    assert heard.shape == true.shape
    assert np.abs(heard[0] - true[0]).max() < 1e-3  # W is what was heard
    assert (tmp_path / "out" / f"{video.stem}.png").stat().st_size > 10_000


def test_channels_are_kept_in_their_order(tmp_path):
    sound = torch.stack([torch.full((1000,), level) for level in (0.1, -0.2, 0.3, -0.4)])
    write_wav(sound, 16000, tmp_path / "four.wav")
    with av.open(str(tmp_path / "four.wav")) as container:
        values = np.concatenate([frame.to_ndarray() for frame in container.decode(container.streams.audio[0])], axis=1)
    assert np.allclose(values.reshape(-1, 4)[5] / 2**31, [0.1, -0.2, 0.3, -0.4], atol=1e-6)
