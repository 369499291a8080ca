from __future__ import annotations

import hashlib
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import forked
import numpy as np
import pytest
from films import film

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.finding import find_media
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.catalog.measuring import measure_file
from avssl.catalog.naming import name_copies
from avssl.media import MediaError, probe

TOOL = Path(__file__).parents[2] / "tools" / "prepare.py"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def indexed(root: Path, **annotation: str) -> Manifest:
    """What ``build_index`` makes of a folder, without its processes."""
    return Manifest.from_rows(
        {**measure_file(str(root / file.path), motion=False), **file._asdict(), "root": str(root), **annotation}
        for file in find_media(root)
    )


def tree(root: Path) -> dict[str, tuple[int, str]]:
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_copies_mirror_the_folder_and_carry_what_is_known(tmp_path):
    root, out = tmp_path / "root", tmp_path / "out"
    film(root / "run" / "seq1.mp4", 20)
    film(root / "run" / "seq2.mkv", 20)
    film(root / "run" / "seq2.avi", 20, sound=np.ones(40000), audio_codec="libmp3lame")
    film(root / "walk, 100%" / "seq3 ü.mp4", 20)
    (root / "run" / "seq4.mp4").write_text("<!doctype html>")
    before = tree(root)
    rows = indexed(root, group="g", view="v").to_rows()
    source = Manifest.from_rows(row | {"label": row["path"].split("/")[0]} for row in rows)
    first = prepare(source, out, workers=1)
    assert (first.made, first.kept, first.failed) == (4, 0, 0)
    names = ["run/seq1.mp4", "run/seq2.avi.mp4", "run/seq2.mkv.mp4", "walk, 100%/seq3 ü.mp4"]
    assert sorted(tree(out)) == sorted([*names, "prepare.journal", "videos.parquet"])
    assert tree(root) == before
    copies = open_manifest(out)
    assert [info.path for info in copies] == [out / name for name in names]
    assert [(info.label, info.group, info.view) for info in copies] == [
        (0, "g", "v"),
        (0, "g", "v"),
        (0, "g", "v"),
        (1, "g", "v"),
    ]
    assert copies.classes == source.classes == ["run", "walk, 100%"]
    assert [bad.path.name for bad in copies.rejected] == ["seq4.mp4"]
    assert copies[0].motion is not None
    assert [info.sync_grade for info in copies] == ["none", "unsignalled", "none", "none"]
    assert copies[0].codec == "h264"

    made = tree(out)
    again = prepare(source, out)
    assert (again.made, again.kept) == (0, 4)
    assert {name: made[name] for name in names} == {name: tree(out)[name] for name in names}

    film(root / "run" / "seq1.mp4", 10)
    (out / "run" / "seq2.avi.mp4").unlink()
    with pytest.raises(MediaError, match=r"1 of its 4 videos are gone or changed, such as .*seq2\.avi\.mp4"):
        open_manifest(out)
    third = prepare(source, out, workers=1)
    assert (third.made, third.kept, third.failed) == (1, 3, 0)

    shutil.rmtree(out / "run")
    fourth = prepare(source, out, CopyOptions(short_side=32), workers=1)
    assert (fourth.made, fourth.failed) == (3, 1)
    assert {bad.path.name: bad.reason.split(":")[0] for bad in fourth.manifest.rejected}["seq1.mp4"] == "changed"
    assert probe(out / "run" / "seq2.avi.mp4").size == (32, 42)
    assert not list(out.rglob("*.partial"))
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    assert open_manifest(moved)[0].path == moved / "run" / "seq2.avi.mp4"


def test_copies_never_land_on_originals(tmp_path):
    film(tmp_path / "root" / "a.mp4")
    source = indexed(tmp_path / "root")
    for out in (tmp_path / "root", tmp_path / "root" / "deep" / "er"):
        with pytest.raises(ValueError, match="which has the originals"):
            prepare(source, out)
    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["a.mp4"]


def test_two_sources_never_share_a_copy():
    names = ("a.avi", "a.mov", "b.mkv", "c/a.avi")
    assert name_copies([(path, None) for path in names]) == [
        "a.avi.mp4",
        "a.mov.mp4",
        "b.mp4",
        "c/a.mp4",
    ]
    with pytest.raises(ValueError, match=r"such as a\.mp4"):
        name_copies([("a.mp4", None), ("a.mp4", None)])


def test_killed_and_run_again_equals_uninterrupted(tmp_path, shared_data):
    root = tmp_path / "root"
    (root / "x").mkdir(parents=True)
    for path in sorted((shared_data / "talking_faces" / "clips").iterdir())[:12]:
        shutil.copy(path, root / "x")
    before = tree(root)
    source = indexed(root, group="g")
    source.write(tmp_path / "source.parquet")
    command = [sys.executable, str(TOOL), str(tmp_path / "source.parquet"), "-o"]
    whole, out = tmp_path / "whole", tmp_path / "out"
    prepare(source, whole, workers=2)
    process = forked.start([*command, out, "--workers=1"])
    while len(list(out.rglob("0*.mp4"))) < 3:  # the last one may not have been noted down yet
        time.sleep(0.005)
        assert process.poll() is None, process.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(MediaError, match="Run `avssl prepare` again"):
        open_manifest(out)
    done = forked.run([*command, out, "--workers=1"], check=True)
    assert " 0 existed already" not in done.stdout
    assert "0 failed" in done.stdout
    contents = [
        {name: content for name, (_, content) in tree(folder).items() if "/" in name} for folder in (whole, out)
    ]
    assert contents[0] == contents[1]
    assert len(contents[0]) == 12
    assert open_manifest(whole).fingerprint == open_manifest(out).fingerprint
    assert all(info.audio is not None and info.sync_grade == "exact" for info in open_manifest(out))
    assert tree(root) == before


def test_a_name_of_any_length_gets_a_copy(tmp_path):
    names = ["x" * 251 + ".mp4", "ü" * 126 + ".ts", "x" * 250 + ".mkv"]  # of 255 and 254 bytes
    parts = [(name, None) for name in names]
    assert name_copies(parts[::2]) == [names[0], "x" * 250 + ".mp4"]
    short = name_copies(parts[1:2])[0]
    assert re.fullmatch(r"ü+-[0-9a-f]{16}\.mp4", short)
    assert 254 <= len(short.encode()) <= 255
    film(tmp_path / "films" / "short.mp4", 10)
    for name in names[:2]:
        shutil.copy(tmp_path / "films" / "short.mp4", tmp_path / "films" / name)
    made = prepare(indexed(tmp_path / "films"), tmp_path / "out", workers=1)
    assert (made.made, made.failed) == (3, 0)
    assert sorted(open_manifest(tmp_path / "out").column("path").to_pylist()) == sorted([names[0], short, "short.mp4"])
