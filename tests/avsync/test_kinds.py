"""Sources that are segments, members of archives or objects in stores make the clips that plain files make."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
import torch
from folders import contents, rows
from servers import serving
from test_builder import SMALL

from avssl.avsync import sources
from avssl.avsync.builder import build
from avssl.avsync.sources import Source, scan
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import measure
from avssl.media import open_video, probe
from avssl.media.source import SourceError
from avssl.media.stores import Store, name_stores
from avssl.synthetic.clapper import write_clapper

pytestmark = pytest.mark.usefixtures("own_stores")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    write_clapper(folder / "a" / "long.mov", frames=150, codec="pcm_s16le", seed=1)
    write_clapper(folder / "b" / "short.mov", frames=60, codec="pcm_s16le", seed=2)
    return folder


def indexed(root: Path, **found: object) -> Manifest:
    """A manifest of the films, with further columns."""
    paths = ("a/long.mov", "b/short.mov")
    parts = [{**measure(root / path, False)[0], "root": str(root), "path": path, "label": path[0]} for path in paths]
    facts = [(root / path).stat() for path in paths]
    return Manifest.from_rows(
        {**part, "size_bytes": fact.st_size, "mtime_ns": fact.st_mtime_ns, **found}
        for part, fact in zip(parts, facts, strict=True)
    )


def clips(out: Path) -> dict[str, tuple[str | None, str]]:
    """Class and hash of each clip."""
    found = rows(out / "videos.parquet")
    return {row["path"]: (row["labels"], row["content"]) for row in found if row["status"] == "ok"}


def test_segments_of_a_list_and_of_a_manifest(root: Path, tmp_path: Path, machine) -> None:
    listed = tmp_path / "list.csv"
    lines = ["a/long.mov,one,g1,1.21,3.60", "a/long.mov,two,g2,3.6,6.0", "b/short.mov,one,g2,0,2.4"]
    listed.write_text("\n".join(["path,label,group,start,stop", *lines, "b/short.mov,two,,9,12", ""]))
    out = tmp_path / "out"
    built = build([root], out, SMALL, machine, labels=str(listed))
    assert built.outcomes == {"kept": 3, "outside": 1}
    table = {row["source"].partition("/")[2]: row for row in rows(out / "sources.parquet")}
    assert list(table) == ["a/long.mov@1.21-3.6", "a/long.mov@3.6-6", "b/short.mov@0-2.4", "b/short.mov@9-12"]
    assert len({row["group"] for row in table.values()}) == 1  # g1 and g2 share a film, and so all belong together
    assert len({row["content"] for row in table.values()}) == 4

    begins = {"a/long.mov@1.21-3.6": 30, "a/long.mov@3.6-6": 90, "b/short.mov@0-2.4": 0}  # the nearest frame
    kept = [row for row in rows(out / "clips.parquet") if row["clip"]]
    assert {row["source"].partition("/")[2] for row in kept} == set(begins)
    for row in kept:
        path, first = row["source"].partition("/")[2], round(row["start"] * 25)
        film = probe(root / path.partition("@")[0])
        begin = (begins[path] + first) / 25
        with open_video(out / row["clip"]) as clip, open_video(film.path) as whole:
            count = clip.info.num_frames
            shown = clip.frames(torch.arange(count, dtype=torch.float64) / 25).float()
            there = whole.frames(begin + torch.arange(count, dtype=torch.float64) / 25).float()
            errors = (shown - there).abs().mean((1, 2, 3))  # the texture moves by a pixel a frame
            assert errors.max() < 0.25 * (there[1:] - there[:-1]).abs().mean((1, 2, 3)).min()
            heard = clip.audio(0, count / 25, 16000).samples
            expected = whole.audio(begin, begin + count / 25, 16000).samples
            assert (heard - expected)[40:-40].abs().max() < 2**-14  # resampled within a longer stretch
    assert build([root], out, SMALL, machine, labels=str(listed)).made == {}

    build_index(root, tmp_path / "videos.parquet", labels=str(listed), workers=1, motion=False)
    again = build([tmp_path / "videos.parquet"], tmp_path / "again", SMALL, machine)
    assert again.outcomes == built.outcomes
    assert clips(tmp_path / "again") == clips(out)


def test_members_objects_and_files_make_the_same_clips(root: Path, tmp_path: Path, machine) -> None:
    build([root], tmp_path / "plain", SMALL, machine)
    expected = clips(tmp_path / "plain")
    (tmp_path / "tars").mkdir()
    with tarfile.open(tmp_path / "tars" / "0.tar", "w") as tar:
        for path in ("a/long.mov", "b/short.mov"):
            tar.add(root / path, path)
    build([tmp_path / "tars"], tmp_path / "members", SMALL, machine)
    assert clips(tmp_path / "members") == expected
    (held,) = scan([tmp_path / "tars"])[:1]
    assert (held.name, held.label, held.group) == ("tars/0.tar/a/long.mov", "a", "tars/0.tar/a/long.mov")
    with pytest.raises(ValueError, match=r"holds sources, such as .*0\.tar"):
        sources.check_apart([], [held], tmp_path / "tars")

    with serving() as server:
        for path in ("a/long.mov", "b/short.mov"):
            server.objects[f"/v/{path}"] = (root / path).read_bytes()
        found = indexed(root, store="web", mtime_ns=None, group=None).to_rows()
        for row in found:
            row["etag"] = server.etag(f"/v/{row['path']}")
        Manifest.from_rows(found).write(tmp_path / "web.parquet")
        name_stores({"web": Store(f"{server.url}/v", allow_http=True, timeout=1, deadline=5)})
        server.fault = lambda number: "403" if number > 12 else None
        with pytest.raises(SourceError, match=r"web:.*\[denied\]"):
            build([tmp_path / "web.parquet"], tmp_path / "objects", SMALL, machine)
        server.fault = lambda number: None
        built = build([tmp_path / "web.parquet"], tmp_path / "objects", SMALL, machine)
        assert built.outcomes == {"kept": 2}
    assert clips(tmp_path / "objects") == expected


def test_shards_of_a_dataset_are_a_collection(root: Path, tmp_path: Path, machine) -> None:
    build([root], tmp_path / "out", SMALL, machine)
    shards = build_index(tmp_path / "out" / "shards", tmp_path / "shards.parquet", workers=1)
    clips_of = open_manifest(tmp_path / "out")
    assert not [*shards.rejected]
    for column in ("content", "labels", "group"):
        mine, theirs = (
            dict(zip(each.column("content").to_pylist(), each.column(column).to_pylist(), strict=True))
            for each in (shards, clips_of)
        )
        assert mine == theirs
    assert shards.classes == ["a", "b"]
    whole = dict(zip(clips_of.column("content").to_pylist(), clips_of, strict=True))
    for content, info in zip(shards.column("content").to_pylist(), shards, strict=True):
        with open_video(info.path, info=info) as packed, open_video(whole[content].path) as file:
            times = torch.arange(info.num_frames, dtype=torch.float64) / 25
            assert torch.equal(packed.frames(times), file.frames(times))
            assert torch.equal(packed.audio(0, 1, 16000).samples, file.audio(0, 1, 16000).samples)
    assert not [name for name in contents(tmp_path / "out") if "partial" in name]


def test_plain_files_keep_their_keys() -> None:
    assert sources.identity_of("abc", None) == "abc"
    assert len({sources.identity_of("abc", span) for span in (None, (0.0, 1.0), (0.0, 2.0), (None, 1.0))}) == 4
    one, two = Source(Path("x"), "x", group="g"), Source(Path("y"), "y", group="y")
    assert sources._grouped([one, two]) == [one, two]
