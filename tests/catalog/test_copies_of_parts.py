"""Copies of segments, of members of archives and of objects in stores; and copies in archives."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from films import film, grey

from avssl.catalog.archives import contents_of
from avssl.catalog.copies import Prepared, prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.finding import VIDEOS
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import Span, measure
from avssl.cli.prepare import parse_size
from avssl.media import open_video, probe
from avssl.media.source import Source, SourceError
from avssl.media.stores import Store, name_stores
from avssl.media.window import whole

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from servers import serving

RATE = 16000
SPANS: list[Span] = [(0.0, 0.8), (0.8, 1.79), (0.8, 1.79), (1.8, 2.4)]


pytestmark = pytest.mark.usefixtures("own_stores")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of one grey level each, and sound that is never the same twice."""
    sound = np.cumsum(np.random.default_rng(0).normal(0, 1, round(2.4 * RATE)))
    sound = 0.4 * sound / np.abs(sound).max()
    return film(
        tmp_path_factory.mktemp("long") / "films" / "long.mov", 60, sound=sound, rate=RATE, audio_codec="pcm_s16le"
    )


def facts_of(path: Path) -> dict[str, Any]:
    facts = path.stat()
    return {"root": str(path.parent), "path": path.name, "size_bytes": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def segments(place: Path | Source, **where: Any) -> Manifest:
    """A manifest of SPANS: the second and the third row are two annotations of the same seconds."""
    rows = measure(place, False, SPANS)
    asked = [
        {"asked": span, "group": "film", "labels": [f"c{number}"], "name": f"n{number}"}
        for number, span in enumerate(SPANS)
    ]
    return Manifest.from_rows({**row, **more, **where} for row, more in zip(rows, asked, strict=True))


def check(copies: Manifest, source: Path) -> None:
    """Frame k of each copy is what its segment shows at k / fps, and its sound is the segment's."""
    film = probe(source)
    for copy, (first, count) in zip(copies, [(0, 20), (20, 25), (20, 25), (45, 15)], strict=True):
        with open_video(copy.path, info=copy) as reader, open_video(source, info=film) as there:
            assert (copy.num_frames, copy.fps) == (count, 25)
            levels = reader.frames(torch.arange(count, dtype=torch.float64) / 25).float().mean((1, 2, 3))
            assert (levels - torch.tensor([grey(first + k) for k in range(count)])).abs().max() < 3
            heard = reader.audio(0, count / 25, RATE).samples
            assert torch.equal(heard, there.audio(first / 25, (first + count) / 25, RATE).samples)
    assert copies.column("labels").to_pylist() == [[f"c{number}"] for number in range(4)]
    assert copies.column("name").to_pylist() == [f"n{number}" for number in range(4)]
    assert set(copies.column("group").to_pylist()) == {"film"}


def make(source: Manifest, out: Path, **more: Any) -> Prepared:
    return prepare(source, out, CopyOptions(short_side=48, crf=10), workers=1, **more)


def test_segments_of_files_members_and_objects(long: Path, tmp_path: Path) -> None:
    prepared = make(segments(long, **facts_of(long)), tmp_path / "files")
    assert (prepared.made, prepared.kept, prepared.failed) == (3, 0, 0)  # the same seconds share a copy
    assert prepared.bytes_before == long.stat().st_size
    check(open_manifest(tmp_path / "files"), long)
    assert make(segments(long, **facts_of(long)), tmp_path / "files").made == 0

    archive = tmp_path / "tars" / "0.tar"
    archive.parent.mkdir()
    with tarfile.open(archive, "w") as tar:
        tar.add(long, "deep/long.mov")
    (packed,) = contents_of(whole(archive), VIDEOS).recordings
    where = {"member": packed.member, "offset": packed.offset, "bytes": packed.bytes}
    place = Source(str(archive), "", packed.member, packed.offset, packed.bytes, archive.stat().st_size)
    prepared = make(segments(place, **facts_of(archive), **where), tmp_path / "members")
    assert prepared.bytes_before == long.stat().st_size
    check(open_manifest(tmp_path / "members"), long)
    assert open_manifest(tmp_path / "members")[3].path.relative_to(tmp_path) == Path(
        "members/0.tar/deep/long_000001.800-000002.400.mp4"
    )

    with serving() as server:
        server.objects["/v/a/long.mov"] = long.read_bytes()
        name_stores({"web": Store(f"{server.url}/v", allow_http=True, timeout=2, deadline=5)})
        where = {"root": ".", "path": "a/long.mov", "store": "web", "etag": server.etag("/v/a/long.mov")}
        source = segments(long, **where, size_bytes=long.stat().st_size)
        served = len(server.asked)
        server.fault = lambda number: "403" if number > served + 3 else None
        with pytest.raises(SourceError, match=r"web:a/long\.mov.*\[denied\]"):
            make(source, tmp_path / "objects")
        assert not (tmp_path / "objects" / "videos.parquet").exists()
        server.fault = lambda number: None
        assert make(source, tmp_path / "objects").failed == 0
        check(open_manifest(tmp_path / "objects"), long)
        assert make(source, tmp_path / "objects").made == 0
        server.etag = lambda path: '"another"'  # type: ignore[method-assign]
        with pytest.raises(SourceError, match="changed"):
            make(segments(long, **{**where, "etag": '"2"'}, size_bytes=long.stat().st_size), tmp_path / "objects")
    same = [
        {path.name: path.read_bytes() for path in (tmp_path / kind).rglob("*.mp4")}
        for kind in ("files", "members", "objects")
    ]
    assert same[0] == same[1] == same[2]
    assert len(same[0]) == 3


def tars(out: Path) -> dict[str, bytes]:
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]
    return {path.name: path.read_bytes() for path in sorted(out.rglob("*.tar"))}


def test_copies_in_archives(long: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = segments(long, **facts_of(long)), tmp_path / "out"
    first = make(source, out, shard_size=10**9)
    assert (first.made, first.failed, list(tars(out))) == (3, 0, ["00000.tar"])
    check(open_manifest(out), long)
    size = sum(open_manifest(out).column("bytes").to_pylist()[:2])
    assert make(source, out, shard_size=size).made == 0
    check(open_manifest(out), long)
    made = tars(out)
    assert list(made) == ["00000.tar", "00001.tar"]
    again = make(source, out, shard_size=size)
    assert (again.made, again.kept) == (0, 3)
    assert tars(out) == made
    make(source, tmp_path / "other", shard_size=size)
    assert tars(tmp_path / "other") == made

    with tarfile.open(out / "shards" / "00000.tar") as tar:  # another reader of archives
        names = tar.getnames()
        assert names[:2] == ["long_000000_000-000000_800.mp4", "long_000000_000-000000_800.json"]
        note = json.loads(tar.extractfile(names[1]).read())  # type: ignore[union-attr]
    assert {name: note[name] for name in ("label", "labels", "group", "name")} == {
        "label": "c0",
        "labels": ["c0"],
        "group": "film",
        "name": "n0",
    }
    found = [
        each for path in sorted((out / "shards").glob("*.tar")) for each in contents_of(whole(path), VIDEOS).recordings
    ]
    assert [each.asked.labels for each in found] == [("c0",), ("c1", "c2"), ("c3",)]
    assert {each.asked.group for each in found} == {"film"}

    # Another size: nothing is encoded again, also if the packing is stopped anywhere.
    from avssl.catalog import packing

    write, calls = packing.Shards._write, []

    def stopping(self: packing.Shards, path: Path, part: Any) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(self, path, part)

    monkeypatch.setattr(packing.Shards, "_write", stopping)
    with pytest.raises(KeyboardInterrupt):
        make(source, out, shard_size=1)
    monkeypatch.setattr(packing.Shards, "_write", write)
    resumed = make(source, out, shard_size=1)
    assert (resumed.made, len(tars(out))) == (0, 3)
    check(open_manifest(out), long)
    assert make(source, out, shard_size=size).made == 0
    assert tars(out) == made

    # A part of the collection, and it moved to another place.
    assert make(source.select([0, 3]), out, shard_size=10**9).made == 0
    shutil.copytree(out, tmp_path / "moved")
    assert [copy.num_frames for copy in open_manifest(tmp_path / "moved")] == [20, 15]
    with open_video((copy := open_manifest(tmp_path / "moved")[1]).path, info=copy) as reader:
        assert abs(float(reader.frames(torch.zeros(1, dtype=torch.float64)).float().mean()) - grey(45)) < 3
    (out / "shards" / "00000.tar").write_bytes(b"")
    assert make(source.select([0, 3]), out, shard_size=10**9).made == 2


def test_sizes() -> None:
    assert [parse_size(text) for text in ("500MB", "2 GB", "1.5kB", "77")] == [500 * 10**6, 2 * 10**9, 1500, 77]
    for text in ("0MB", "big", "-1GB"):
        with pytest.raises(ValueError, match="such as 500MB"):
            parse_size(text)
