from __future__ import annotations

import pickle
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from avssl.catalog.manifest import Manifest
from avssl.catalog.summary import summarise
from avssl.catalog.table import SCHEMA, row_from_info
from avssl.media.errors import MediaError
from avssl.media.info import AudioInfo, VideoInfo


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def row(path: str, **columns) -> dict:
    info = VideoInfo(Path(), 2.5, 25.0, (48, 64), motion=torch.linspace(0, 1, 20), num_frames=62, codec="h264")
    return row_from_info(info) | {"root": "/videos", "path": path, "content": path, "size_bytes": 1} | columns


REJECTED = {"root": "/videos", "path": "bad.mp4", "status": "rejected", "reason": "truncated: no moov"}


def manifest() -> Manifest:
    return Manifest.from_rows(
        [row("a.mp4", label="run"), REJECTED, row("b.mp4", label="jump", group="g", view="left"), row("c.mp4")]
    )


def test_a_row_gives_back_the_whole_info(tmp_path):
    info = VideoInfo(
        path=Path("/videos/x y,%03d/ü.mkv"),
        duration=1.2345678901,
        fps=30000 / 1001,
        size=(128, 227),
        audio=AudioInfo(44100, 6, -0.021, 1.25, "aac", True),
        label=0,
        labels=(0,),
        group="g",
        view="v",
        motion=torch.rand(10).half().float(),
        origin=5.033,
        num_frames=37,
        vfr=True,
        codec="vp9",
        container="matroska,webm",
        rotation=270,
        seekable=False,
        backends=("torchcodec", "pyav"),
        sync_grade="unsignalled",
    )
    rows = [
        row_from_info(info) | {"root": "/videos", "path": "x y,%03d/ü.mkv", "label": "c", "group": "g", "view": "v"}
    ]
    Manifest.from_rows(rows).write(tmp_path / "m.parquet")
    read = Manifest.open(tmp_path / "m.parquet")[0]
    assert read.motion is not None
    assert torch.equal(read.motion, info.motion)
    for name in set(vars(info)) - {"motion"}:
        assert getattr(read, name) == getattr(info, name), name


def test_only_usable_videos_are_counted_and_the_rest_are_named():
    videos = manifest()
    assert [videos[i].path.name for i in range(len(videos))] == ["a.mp4", "b.mp4", "c.mp4"]
    assert videos[-1].path == Path("/videos/c.mp4")
    assert [tuple(bad) for bad in videos.rejected] == [(Path("/videos/bad.mp4"), "truncated: no moov")]
    assert videos.classes == ["jump", "run"]
    assert [videos[i].label for i in range(3)] == [1, 0, None]
    with pytest.raises(IndexError, match="3 usable"):
        videos[3]
    for words in ("3 videos can be used, 1 can't", "truncated: 1, such as bad.mp4 (no moov)", "classes: 2, 1 videos"):
        assert words in summarise(videos)


def test_a_selection_keeps_class_numbers_order_and_repeats(tmp_path):
    manifest().write(tmp_path / "m.parquet")
    chosen = Manifest.open(tmp_path / "m.parquet").select([2, 0, 0])
    assert [info.path.name for info in chosen] == ["c.mp4", "a.mp4", "a.mp4"]
    assert chosen[1].label == 1
    assert chosen.column("path").to_pylist() == ["c.mp4", "a.mp4", "a.mp4"]
    assert [info.path.name for info in chosen.select(torch.tensor([1]))] == ["a.mp4"]
    assert chosen.column("path", rejected=True).to_pylist()[3:] == ["bad.mp4"]
    with pytest.raises(IndexError, match="of 3"):
        chosen.select([3])
    chosen.select([1]).write(tmp_path / "part.parquet")
    part = Manifest.open(tmp_path / "part.parquet")
    assert (part[0].path, part[0].label) == (Path("/videos/a.mp4"), 1)


def test_concat_merges_classes_and_keeps_order():
    other = Manifest.from_rows([row("d.mp4", label="climb", root="/more"), REJECTED])
    both = Manifest.concat([manifest().select([1, 0]), other])
    assert both.classes == ["climb", "jump", "run"]
    assert [(str(info.path), info.label) for info in both] == [
        ("/videos/b.mp4", 1),
        ("/videos/a.mp4", 2),
        ("/more/d.mp4", 0),
    ]
    assert len(both.rejected) == 2
    nested = Manifest.concat([both, manifest()])
    assert [info.path.name for info in nested] == ["b.mp4", "a.mp4", "d.mp4", "a.mp4", "b.mp4", "c.mp4"]
    assert [info.path for info in pickle.loads(pickle.dumps(nested))] == [info.path for info in nested]


def test_a_relative_root_follows_the_manifest(tmp_path):
    Manifest.from_rows([row("a.mp4", root=".")]).write(tmp_path / "one" / "m.parquet")
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "m.parquet").rename(tmp_path / "two" / "m.parquet")
    moved = Manifest.open(tmp_path / "two" / "m.parquet")
    assert moved[0].path == moved.paths()[0] == tmp_path / "two" / "a.mp4"
    assert Manifest.concat([moved])[0].path == tmp_path / "two" / "a.mp4"


def test_the_fingerprint_depends_on_content_and_annotation_alone(tmp_path):
    videos = manifest()
    videos.write(tmp_path / "m.parquet")
    assert Manifest.open(tmp_path / "m.parquet").fingerprint == videos.fingerprint
    moved = [row | {"root": "/elsewhere", "mtime_ns": 5} for row in videos.to_rows()]
    assert Manifest.from_rows(moved).fingerprint == videos.fingerprint
    assert Manifest.concat([videos]).fingerprint == videos.select([0, 1, 2]).fingerprint == videos.fingerprint
    prints = {videos.fingerprint, videos.select([1, 0, 2]).fingerprint, videos.select([0, 1]).fingerprint}
    for name in ("path", "content", "label", "group", "view"):
        prints.add(Manifest.from_rows([row | {name: "other"} for row in videos.to_rows()]).fingerprint)
    assert len(prints) == 8


def test_pickling_sends_no_rows_and_survives_a_rewritten_file(tmp_path):
    path = tmp_path / "m.parquet"
    manifest().write(path)
    videos = Manifest.open(path)
    pickled = pickle.dumps(videos.select([2, 1]))
    assert len(pickled) < 1000
    Manifest.from_rows([row("new.mp4")]).write(path)
    assert [info.path.name for info in pickle.loads(pickled)] == ["c.mp4", "b.mp4"]
    assert [info.path.name for info in Manifest.open(path)] == ["new.mp4"]


def test_columns_are_the_mapped_memory(tmp_path):
    manifest().write(tmp_path / "m.parquet")
    videos = Manifest.open(tmp_path / "m.parquet")
    piece = videos.column("duration").chunk(0)
    assert piece.to_numpy(zero_copy_only=True).tolist() == [2.5, 2.5, 2.5]
    assert videos.column("duration").chunk(0).buffers()[1].address == piece.buffers()[1].address
    with pytest.raises(KeyError, match="lenght"):
        manifest().column("lenght")


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"`avssl index ROOT"):
        Manifest.open(tmp_path / "none.parquet")
    pq.write_table(pa.table({"path": ["a"]}), tmp_path / "foreign.parquet")
    with pytest.raises(MediaError, match=r"columns.*status.*missing"):
        Manifest.open(tmp_path / "foreign.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(MediaError, match="not a complete Parquet file"):
        Manifest.open(tmp_path / "text.parquet")
    with pytest.raises(ValueError, match="lable"):
        Manifest.from_rows([{"lable": "x"}])


def test_a_table_edited_elsewhere_is_put_in_order(tmp_path):
    rows = [REJECTED, row("b.mp4", label="x"), row("a.mp4")]
    arrays = {name: [entry.get(name) for entry in rows] for name in reversed(SCHEMA.names)}
    table = pa.table({name: pa.array(values, SCHEMA.field(name).type) for name, values in arrays.items()})
    pq.write_table(
        table.set_column(len(SCHEMA) - 1, "root", table.column("root").cast(pa.string())), tmp_path / "m.parquet"
    )
    videos = Manifest.open(tmp_path / "m.parquet")
    assert [info.path.name for info in videos] == ["b.mp4", "a.mp4"]
    assert len(videos.rejected) == 1


def test_nothing_usable_is_an_empty_manifest(tmp_path):
    Manifest.from_rows([REJECTED]).write(tmp_path / "m.parquet")
    videos = Manifest.open(tmp_path / "m.parquet")
    assert len(videos) == 0
    assert list(videos) == []
    assert "0 videos can be used, 1 can't" in summarise(videos)


def test_a_large_manifest_opens_at_once_and_stays_out_of_memory(tmp_path):
    count = 100_000
    columns = {name: pa.repeat(pa.scalar(row("").get(name), SCHEMA.field(name).type), count) for name in SCHEMA.names}
    columns["path"] = pa.array([f"{i:06d}.mp4" for i in range(count)])
    columns["motion"] = pa.array([np.zeros(400, np.float16).tobytes()] * count, pa.large_binary())
    pq.write_table(pa.table(columns), tmp_path / "m.parquet")
    Manifest.open(tmp_path / "m.parquet")
    started = time.perf_counter()
    videos = Manifest.open(tmp_path / "m.parquet")
    assert time.perf_counter() - started < 0.5
    assert [videos[i].path.name for i in range(0, count, 1000)] == [f"{i:06d}.mp4" for i in range(0, count, 1000)]
    assert videos._maps, "large enough that pages are handed back"
    assert len(pickle.dumps(videos)) < 1000
