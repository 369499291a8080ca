from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import forked
import pytest
from films import film

from avssl.catalog.finding import find_media
from avssl.catalog.index import build_index, open_manifest
from avssl.catalog.measuring import measure_file
from avssl.catalog.summary import summarise
from avssl.media import MediaError

TOOL = Path(__file__).parents[2] / "tools" / "index.py"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def quick(path: Path, motion: bool, spans: list, hashing: str) -> list[dict]:
    """Stands for the measurement of a file; what happens depends on the file's name."""
    if path.name == "hang.mp4":
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        time.sleep(600)
    if path.name == "crash.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    with open(path, "rb") as file:
        content = hashlib.sha256(file.read()).hexdigest()
    with open(os.environ["MEASURED"], "a") as log:
        log.write(f"{path}\n")
    row = {
        "status": "ok",
        "content": content,
        "duration": 1.0,
        "fps": 25.0,
        "height": 4,
        "width": 4,
        "vfr": False,
        "backends": [],
    }
    return [row] * len(spans)


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Names of the files measured since the last call."""
    log = tmp_path / "measured.log"
    monkeypatch.setenv("MEASURED", str(log))

    def names() -> list[str]:
        found = sorted(Path(line).name for line in log.read_text().splitlines()) if log.exists() else []
        log.unlink(missing_ok=True)
        return found

    return names


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def test_finding_is_sorted_and_knows_links_hidden_files_and_endings(tmp_path):
    root = folder_of(tmp_path / "root", "b/z.MP4", "b/a.mkv", "a.avi", "note.txt", ".hidden.mp4", ".git/x.mp4", "-d.ts")
    (root / "b" / "loop").symlink_to(root)
    (root / "c").symlink_to(root / "b")
    (root / "gone.mp4").symlink_to(root / "nowhere.mp4")
    assert [file.path for file in find_media(root)] == ["-d.ts", "a.avi", "b/a.mkv", "b/z.MP4", "gone.mp4"]
    assert measure_file(str(root / "gone.mp4"), True)["reason"].startswith("unreadable: a broken link")


def test_a_missing_and_an_empty_folder_say_what_was_looked_for(tmp_path):
    with pytest.raises(MediaError, match="no such folder") as missing:
        open_manifest(tmp_path / "none")
    assert missing.value.code == "missing"
    folder_of(tmp_path / "texts", "a.txt")
    with pytest.raises(MediaError, match=r"\.mkv.*\.mp4") as empty:
        open_manifest(tmp_path / "texts")
    assert empty.value.code == "empty"


def test_a_hang_and_a_crash_cost_one_file_each_and_workers_change_nothing(tmp_path, measured):
    root = folder_of(tmp_path / "root", "x/hang.mp4", "x/crash.mp4", *[f"{'xy'[i % 2]}/{i}.mp4" for i in range(9)])
    one = build_index(root, tmp_path / "one.parquet", timeout=2.0, workers=1, measure=quick)
    two = build_index(root, tmp_path / "two.parquet", timeout=2.0, workers=2, measure=quick)
    assert {bad.path.name: bad.reason.split(":")[0] for bad in one.rejected} == {
        "hang.mp4": "timeout",
        "crash.mp4": "crashed",
    }
    assert len(one) == 9
    assert one.classes == ["x", "y"]
    assert one.to_rows() == two.to_rows()
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.*")) == ["measured.log", "one.parquet", "two.parquet"]
    measured()
    (root / "x" / "hang.mp4").rename(root / "x" / "fine.mp4")
    assert len(build_index(root, tmp_path / "one.parquet", measure=quick, retry=True, timeout=2.0, workers=1)) == 10
    assert measured() == ["fine.mp4"]


def test_a_folder_is_indexed_once_and_only_what_changed_again(tmp_path, measured, capsys):
    root = folder_of(tmp_path / "root", "x/1.mp4", "x/2.mp4", "y/3.mp4", "y/4.mp4")
    out = tmp_path / "out.parquet"
    first = build_index(root, out, workers=1, measure=quick)
    assert measured() == ["1.mp4", "2.mp4", "3.mp4", "4.mp4"]
    stamp = out.stat().st_mtime_ns
    assert build_index(root, out, workers=1, measure=quick).to_rows() == first.to_rows()
    assert measured() == []
    assert out.stat().st_mtime_ns == stamp
    (root / "x" / "1.mp4").write_bytes(b"longer than before")
    os.utime(root / "x" / "2.mp4", ns=(1, 1))
    (root / "y" / "3.mp4").unlink()
    folder_of(root, "z/5.mp4")
    again = build_index(root, out, workers=1, measure=quick)
    assert measured() == ["1.mp4", "2.mp4", "5.mp4"]
    assert [info.path.name for info in again] == ["1.mp4", "2.mp4", "4.mp4", "5.mp4"]
    assert again.classes == ["x", "y", "z"]
    assert "1 unchanged, 2 changed, 1 new, 1 gone" in capsys.readouterr().err
    relabelled = build_index(root, out, labels="none", group="[0-9]", workers=1, measure=quick)
    assert measured() == []
    assert [info.group for info in relabelled] == ["1", "2", "4", "5"]
    assert relabelled.classes == []


def tree(root: Path) -> dict[str, tuple[int, int, str]]:
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_killed_and_run_again_equals_uninterrupted(tmp_path, shared_data):
    root = tmp_path / "root"
    for label in ("hug", "kick", "push"):
        shutil.copytree(shared_data / "ut_interaction" / label, root / label)
    before = tree(root)
    command = [sys.executable, str(TOOL), str(root), "--workers=1", "--no-motion", "-o"]
    whole = tmp_path / "whole.parquet"
    with ThreadPoolExecutor(1) as executor:
        build_index(root, whole, motion=False, executor=executor)
    out, journal = tmp_path / "out.parquet", tmp_path / "out.parquet.journal"
    process = forked.start([*command, out])
    while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
        time.sleep(0.005)
        assert process.poll() is None, process.stderr
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    with open(journal, "ab") as file:
        file.write(b'{"name": "hug/half')  # as a kill in the middle of writing leaves it
    done = forked.run([*command, out], check=True)
    assert " new" in done.stderr
    assert " 0 unchanged" not in done.stderr
    assert out.read_bytes() == whole.read_bytes()
    assert not journal.exists()
    assert tree(root) == before
    assert "60 videos can be used, 0 can't" in done.stdout
    assert "classes: 3" in done.stdout


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    root = tmp_path_with_films(tmp_path)
    script = tmp_path / "script.py"
    script.write_text(f"from avssl.catalog.index import open_manifest\nopen_manifest({str(root)!r})\n")
    done = forked.run([sys.executable, script])
    assert done.returncode == 1
    assert 'put the work of the script under `if __name__ == "__main__":`' in done.stderr
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: A worker process died")


def test_real_files_and_odd_ones(tmp_path, shared_data):
    videos = open_manifest([shared_data / "odd_files", tmp_path_with_films(tmp_path)])
    names = {info.path.name for info in videos}
    rejected = {bad.path.name: bad.reason.split(":")[0] for bad in videos.rejected}
    assert {"one.mp4", "two.avi", "-moviepy-1x1-leading-dash.mp4"} <= names
    assert {"moviepy_zero_bytes.webm", "liveportrait_git_lfs_pointer.mp4", "moviepy_audio_only.mp4"} <= set(rejected)
    assert not {"timeout", "crashed", "error"} & set(rejected.values()), rejected
    film_of = {info.path.name: info for info in videos}
    one = film_of["one.mp4"]
    assert (one.num_frames, one.size, one.fps) == (12, (48, 64), 25.0)
    assert one.motion is not None
    assert len(one.motion) == 4
    assert one.audio is None
    assert "identical files: 2 files hold 1 recordings" in summarise(videos)
    assert "rejected, " in summarise(videos)


def tmp_path_with_films(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    film(root / "one.mp4")
    film(root / "two.avi")
    shutil.copy(root / "one.mp4", root / "copy of one.mp4")
    return root


def test_a_folder_with_its_own_manifest_uses_it_while_it_is_right(tmp_path, measured):
    root = folder_of(tmp_path / "root", "x/1.mp4", "x/2.mp4", "x/3.mp4")
    build_index(root, root / "videos.parquet", labels="none", group=r"(\d)", workers=1, measure=quick)
    assert open_manifest(root)[1].group == "2"
    (root / "x" / "3.mp4").write_bytes(b"of another size")
    with pytest.raises(MediaError, match=r"1 of its 3 videos.*3\.mp4"):
        open_manifest(root)


@pytest.mark.parametrize("shares", [1, 4])
def test_shares_and_a_cluster_give_the_same_manifest(shares, tmp_path, measured):
    root = folder_of(tmp_path / "root", *(f"{'xy'[i % 2]}/{i}.mp4" for i in range(20)))
    whole = build_index(root, tmp_path / "whole.parquet", workers=1, measure=quick)
    measured()
    out = tmp_path / "out.parquet"
    with ThreadPoolExecutor(2) as executor:
        parts = [
            build_index(root, out, shard=(share + 1, shares), executor=executor, measure=quick)
            for share in range(shares)
        ]
        assert measured() == sorted(f"{i}.mp4" for i in range(20))
        assert sum(map(len, parts)) == 20
        assert not out.exists()
        assert build_index(root, out, executor=executor, measure=quick).fingerprint == whole.fingerprint
    assert measured() == []
    assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.glob("*.parquet*")) == ["out.parquet", "whole.parquet"]


def test_a_quick_mark_sees_changes_at_both_ends_and_proves_nothing(tmp_path):
    root = tmp_path_with_films(tmp_path)
    videos = build_index(root, tmp_path / "out.parquet", motion=False, hashing="quick", workers=1)
    assert all(content.startswith("edge:") for content in videos.column("content").to_pylist())
    assert len(set(videos.column("content").to_pylist())) == 2


def test_folders_that_may_not_be_listed_are_told_and_left_out(tmp_path, monkeypatch, capsys):
    for name in ("seen/a.mp4", "closed/b.mp4", "lost+found/c.mp4", ".hidden/d.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    scandir = os.scandir

    def guarded(folder):
        if Path(folder).name not in (tmp_path.name, "seen"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", guarded)  # the tests may run as root, who may list everything
    assert [file.path for file in find_media(tmp_path)] == ["seen/a.mp4"]
    assert capsys.readouterr().err == f"{tmp_path}: 1 folders may not be read and are left out: closed/\n"
    with pytest.raises(PermissionError, match="closed"):
        find_media(tmp_path / "closed")
