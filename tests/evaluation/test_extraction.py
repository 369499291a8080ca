"""Features at scale: on the disk or in memory, by one process or two, after a kill, of layers and grids: the same."""

import csv
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import forked
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from by_two import VIEWS, made, small_shards

from avssl.cli import main
from avssl.encoders import C3D, R3D, FrameLSTM, FrameViT, ResNet, ViT, save_encoder
from avssl.encoders.layers import layer_count, layer_maps
from avssl.evaluation import extraction
from avssl.evaluation.extraction import extract_features, extract_several
from avssl.evaluation.features import Views, parts
from avssl.evaluation.probes import LinearProbe, NearestNeighbours
from avssl.evaluation.protocol import DownstreamTask, LabelledVideos, Protocol
from avssl.evaluation.reading import Reading
from avssl.evaluation.readout import Bank, at_rows
from avssl.evaluation.run import run_read_outs
from avssl.evaluation.saving import save_features
from avssl.evaluation.splits import LeaveOneGroupOut
from avssl.evaluation.store import Shards
from avssl.media import open_video
from avssl.runtime.device import Machine

ENCODERS = {
    "frames": lambda: ResNet(width=8),
    "clips": lambda: R3D(width=8),
    "plain": lambda: C3D(width=8),
    "tokens": lambda: ViT(width=24, depth=3, patch=16, heads=2, positions="rotary", class_token=True),
    "frame tokens": lambda: FrameViT(width=16, depth=2, patch=16),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_the_last_layer_on_a_grid_is_the_encoders_maps(name):
    encoder, clips = made(ENCODERS[name]), torch.randn(2, 8, 3, 32, 32)
    last = layer_count(encoder) - 1
    with torch.inference_mode():
        maps = encoder.maps(clips)
        first, found = layer_maps(encoder, clips, [0, last])
    torch.testing.assert_close(found, maps)
    assert first.shape[0] == 2
    assert first.shape[2:] >= found.shape[2:]
    for grid in ((99, 99, 99), (1, 2, 1)):
        first, found = parts(encoder, VIEWS, grid, (0, last))
        assert found.grid == tuple(min(cells, size) for cells, size in zip(grid, maps.shape[2:], strict=True))
        assert (first.start, found.start, found.width) == (0, first.stop, encoder.num_features)
    with pytest.raises(ValueError, match=f"has layers 0 to {last}, not 9"):
        parts(encoder, VIEWS, layers=(9,))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="FrameLSTM has no list of layers"):
        parts(FrameLSTM(width=8, layers=2, size=4), VIEWS, layers=(0,))


def test_grids_and_layers_come_from_one_decoding_in_the_order_time_height_width_channel(collection, tmp_path):
    encoder, machine = made(ENCODERS["tokens"]), Machine(workers=0, cache=tmp_path)
    readings = [Reading(), Reading((2, 1, 2)), Reading(None, (2, 0)), Reading((4, 2, 2), (1,))]
    opened = []
    read = Views.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Views, "read", lambda *given: opened.append(given) or read(*given))
        whole, grid, layers, fine = extract_several(encoder, collection, [0, 3, 5], VIEWS, machine, readings)
    assert len(opened) == 3
    assert [found.shape for found in (whole, grid, layers, fine)] == [(3, 2, n) for n in (24, 4 * 24, 2 * 24, 16 * 24)]
    cells = grid.reshape(3, 2, 2, 1, 2, 24)
    np.testing.assert_allclose(cells.mean((2, 3, 4)), layers[..., :24], rtol=0.02, atol=0.02)  # bfloat16 where native
    assert not np.allclose(cells[:, :, 0], cells[:, :, 1], atol=0.02)
    assert not np.allclose(whole, layers[..., :24], atol=0.02)  # the class token is not the mean
    alone = extract_features(encoder, collection, [0, 3, 5], VIEWS, replace(machine, cache=tmp_path / "b"), (2, 1, 2))
    np.testing.assert_array_equal(alone, grid)
    again = extract_features(encoder, collection, [0, 3, 5], VIEWS, machine, (4, 2, 2), (1,))
    np.testing.assert_array_equal(again, fine)


def test_frames_spread_over_the_whole_video_whatever_its_length(collection):
    info = collection[0]
    for duration in (info.duration, 0.01, 5000.0):
        one = replace(VIEWS, clips=1, step=None).times(replace(info, duration=duration))
        pair = replace(VIEWS, step=None).times(replace(info, duration=duration))
        torch.testing.assert_close(one, (torch.arange(8, dtype=torch.float64)[None] + 0.5) / 8 * duration)
        torch.testing.assert_close(pair.T.flatten().diff(), torch.full((15,), duration / 16, dtype=torch.float64))
        torch.testing.assert_close(pair.mean(), one.mean())
    spread = replace(VIEWS, clips=1, num_frames=4, step=None)
    part = replace(info, start=0.4, origin=info.origin + 0.4, duration=0.6, num_frames=6)
    with open_video(info.path, info=info) as reader:
        seen = reader.frames(torch.tensor([0.475, 0.625, 0.775, 0.925]), size=(32, 32))
    assert torch.equal(spread.read(part, spread.times(part))[0], seen)


def filled(folder, values, storage="float16", per_shard=4):
    store = Shards(folder, len(values), values.shape[1:], per_shard, storage)
    store.begin({})
    for shard in store.missing():
        store.write(shard, values[store.held(shard).start : store.held(shard).stop])
    return store


def test_a_bank_on_the_disk_is_the_bank_in_memory(tmp_path):
    values = np.random.default_rng(0).integers(-9, 9, (11, 6, 8)).astype(np.float32)
    store = filled(tmp_path, values)
    assert store.missing() == []
    assert Shards.open(tmp_path) == store
    rows = [9, 0, 2, 12]
    disk, memory = (Bank(at_rows(each, [*range(3, 14)], 15), *np.zeros((2, 15), int), 2) for each in (store, values))
    assert len(disk.features) == 15
    assert disk.features.shape == memory.features.shape
    for one, other in (
        (disk, memory),
        (disk.over_time(4), memory.over_time(4)),
        (disk.over_time(4).in_sequence(2), memory.over_time(4).in_sequence(2)),
        (disk.columns(2, 5), memory.columns(2, 5)),
    ):
        assert one.features.shape == other.features.shape
        for chosen in (rows, slice(1, 9, 2), [], np.arange(15)):
            np.testing.assert_array_equal(one.features[chosen], other.features[chosen])
        np.testing.assert_array_equal(one.features[-2], other.features[-2])
        np.testing.assert_allclose(one.video_means(rows), other.video_means(rows))
    found = [values for _, values in disk.features.blocks(range(2, 13), 3)]
    np.testing.assert_array_equal(np.concatenate(found), memory.features[2:13])


def test_a_number_too_large_for_float16_is_refused(tmp_path):
    values = np.full((2, 1, 3), 7e4, dtype=np.float32)
    with pytest.raises(ValueError, match=r"7e\+04 don't fit into float16.*--machine.storage=float32"):
        filled(tmp_path, values)
    np.testing.assert_array_equal(filled(tmp_path, values, "float32")[:], values)


def test_large_features_stay_on_the_disk_as_float16(collection, tmp_path, monkeypatch):
    encoder, machine = made(), Machine(workers=0, cache=tmp_path)
    small = extract_features(encoder, collection, range(8), VIEWS, machine)
    monkeypatch.setattr(extraction, "IN_MEMORY", 0)
    large = extract_features(encoder, collection, range(8), VIEWS, machine)
    assert isinstance(large, Shards)
    assert large.storage == "float16"
    np.testing.assert_array_equal(large[:], small.astype(np.float16))
    exact = extract_features(encoder, collection, range(8), VIEWS, replace(machine, storage="float32"))
    np.testing.assert_array_equal(exact[:], small)


def test_two_processes_extract_what_one_does_and_resume_after_a_kill(collection, tmp_path):
    videos = tmp_path / "videos.parquet"
    collection.write(videos)
    words = [sys.executable, Path(__file__).with_name("by_two.py"), videos, tmp_path / "pair"]
    done = forked.run(words, check=True)
    told = json.loads(done.stdout)
    assert told["killed"] == [1, -signal.SIGKILL]
    assert "process 0 of 2: another process ended before the features were complete" in done.stderr
    assert told["kept"] == ["00000.npy", "00001.npy", "00002.npy"]
    assert told["completed"] == [0, 0]
    assert told["read"] == [2, 0]  # videos of the last shard
    with pytest.MonkeyPatch.context() as patch:
        small_shards(patch.setattr)
        alone = extract_features(made(), collection, range(8), VIEWS, Machine(workers=0, cache=tmp_path / "one"))
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"pair/{rank}.npy"), alone)


def test_read_outs_of_the_last_layer_and_from_the_disk_are_those_of_the_encoder(collection, tmp_path, monkeypatch):
    videos = tmp_path / "videos.parquet"
    collection.write(videos)
    probes = {"linear": LinearProbe(strengths=(0.1,)), "neighbours": NearestNeighbours(ks=(3,)), "retrieval": (1,)}
    split = LeaveOneGroupOut("(?P<part>set[12])_(?P<group>seq[0-9]+)_")
    protocol = Protocol("tiny", LabelledVideos(videos), split, VIEWS, **probes, layers=(0, 3))
    task = DownstreamTask(protocol)
    found = run_read_outs(task, [made()], Machine(workers=0, cache=tmp_path), frozen_only=True)
    assert {"linear_layer0", "neighbours_layer0", "retrieval_layer0", "linear_sequence"} < found.keys()
    for name in probes:
        assert found[f"{name}_layer3"] == found[name]
    monkeypatch.setattr(extraction, "IN_MEMORY", 0)
    machine = Machine(workers=0, cache=tmp_path, storage="float32")
    assert run_read_outs(task, [made()], machine, frozen_only=True) == found
    plain = DownstreamTask(replace(protocol, layers=()))
    assert plain.settings == {name: value for name, value in task.settings.items() if name != "layers"}
    assert plain.facts["hash"] == task.facts["hash"]


def test_features_are_written_for_other_programs(collection, tmp_path, capsys):
    encoder, run, machine = made(), tmp_path / "run", Machine(workers=0, cache=tmp_path / "cache")
    save_encoder(encoder, run / "encoder", encoder.card)
    collection.write(tmp_path / "videos.parquet")
    words = [
        *("features", "folder", f"--data.root={tmp_path / 'videos.parquet'}", f"--run={run}"),
        *("--views.clips=2", "--views.num_frames=8", "--views.size=32", "--views.segments=2"),
        *("--machine.workers=0", f"--machine.cache={machine.cache}", "--layers=1,3", "--grid=1,2,2"),
    ]
    assert main([*words, f"--output={tmp_path / 'table.xlsx'}"]) == 2
    assert "a file that ends in .npy or .parquet" in capsys.readouterr().err
    assert main([*words, "-o", str(tmp_path / "made")]) == 0
    files = [tmp_path / f"made/features.{ending}" for ending in ("npy", "csv", "json")]
    assert capsys.readouterr().out.split()[-3:] == [str(file) for file in files]
    expected = extract_features(encoder, collection, range(8), VIEWS, machine, (1, 2, 2), (1, 3))
    np.testing.assert_array_equal(np.load(files[0]), expected)
    with files[1].open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [row["path"] for row in listed] == collection.keys.to_pylist()
    assert [row["labels"] for row in listed] == ["down"] * 4 + ["right"] * 4
    first, second = json.loads(files[2].read_text())["parts"]
    assert (first["layer"], second["layer"]) == (1, 3)
    assert second["start"] == first["width"] * 4
    protocol = Protocol("tiny", LabelledVideos(tmp_path / "videos.parquet"), LeaveOneGroupOut(""), VIEWS)
    (made_table,) = save_features(protocol, run, tmp_path / "made.parquet", machine, grid=(1, 2, 2), layers=(1, 3))
    table = pq.read_table(made_table)
    np.testing.assert_array_equal(np.stack(table["features"].to_numpy()).reshape(expected.shape), expected)
    assert table["path"].to_pylist() == collection.keys.to_pylist()
    assert json.loads(table.schema.metadata[b"avssl"])["views"]["clips"] == 2
