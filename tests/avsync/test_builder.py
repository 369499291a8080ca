"""Every source is accounted for; a dataset depends on sources and options alone, not on who built it or how often."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import forked
import pytest
from folders import contents, rows, tree

from avssl.avsync.builder import build
from avssl.avsync.executors import Execution
from avssl.avsync.options import Accept, Cut, Normal, Options, Pack, Shots, Split, Sync
from avssl.avsync.reasons import REASONS
from avssl.avsync.recording import VERSIONS
from avssl.avsync.score import OnsetScorer, Score, ScorerInput
from avssl.catalog.index import open_manifest
from avssl.runtime.executors import open_executor, parse_share
from avssl.synthetic.clapper import write_clapper

TOOL = Path(__file__).parents[2] / "tools" / "build_avsync.py"
SMALL = Options(
    cut=Cut(seconds=1.0),
    normal=Normal(short_side=64, preset="ultrafast"),
    split=Split(test=0.5, crop=0.4, max_offset=0.4),
    pack=Pack("webdataset", clips_per_shard=4),
)
ARGUMENTS = [
    "--cut.seconds=1",
    "--normal.short_side=64",
    "--normal.preset=ultrafast",
    "--split.test=0.5",
    "--split.crop=0.4",
    "--split.max_offset=0.4",
    "--pack.form=webdataset",
    "--pack.clips_per_shard=4",
]


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound recordings, and some that are not."""
    root = tmp_path_factory.mktemp("mixed")
    for seed in range(4):
        write_clapper(root / f"good{seed}.mp4", 0.02 * seed, frames=80, seed=seed)
    write_clapper(root / "mute.mp4", codec="", frames=40)
    write_clapper(root / "short.mp4", frames=15)
    (root / "page.mp4").write_text("<!doctype html>")
    shutil.copy(root / "good1.mp4", root / "twice.mp4")
    return root


@pytest.fixture(scope="session")
def expected(mixed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of the dataset, from one process that was never interrupted."""
    out = tmp_path_factory.mktemp("expected") / "out"
    built = build([mixed], out, SMALL, Execution(workers=1))
    assert built.outcomes == {"kept": 4, "no_audio": 1, "too_short": 1, "not_media": 1, "duplicate": 1}
    return contents(out)


class ScorerThatFails:
    """Hangs, dies or raises, as it is told; a class of this module, as other processes must find it."""

    def __init__(self, how: str) -> None:
        self.how = how

    def name(self) -> str:
        return f"fails: {self.how}"

    def __call__(self, clip: ScorerInput) -> Score:
        if self.how == "hang":
            time.sleep(600)
        if self.how == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("no idea")


def test_two_workers_make_the_same_dataset_as_one(mixed: Path, expected: dict[str, str], tmp_path: Path):
    before = tree(mixed)
    build([mixed], tmp_path / "out", SMALL, Execution(workers=2))
    assert contents(tmp_path / "out") == expected
    assert tree(mixed) == before


@pytest.mark.timeout(1200)  # five Python processes are started
def test_killed_at_random_and_run_again_equals_uninterrupted(mixed: Path, expected: dict[str, str], tmp_path: Path):
    out, rng = tmp_path / "out", random.Random(0)
    command = [sys.executable, str(TOOL), str(mixed), "-o", str(out), "--workers=1", *ARGUMENTS]
    kills = 0
    for stage in ("normal", "clips"):
        process = forked.start(command)
        while not list((out / ".work" / stage).rglob("*.json")):
            time.sleep(0.02)
            assert process.poll() is None, process.stderr
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += not (out / "dataset.json").exists()
    assert kills == 2
    partial = out / ".work" / "clips" / "00" / ".half.mp4.partial"  # as a kill in the middle of writing leaves it
    partial.parent.mkdir(parents=True, exist_ok=True)
    partial.write_bytes(b"half")
    done = forked.run(command, check=True)
    assert contents(out) == expected
    assert not list(out.rglob("*.partial"))
    assert "kept 4" in done.stdout
    assert json.loads((out / "dataset.json").read_text())["digest"][:16] in done.stdout


def test_shares_of_a_job_array_make_the_same_dataset(mixed: Path, expected: dict[str, str], tmp_path: Path, machine):
    counts = []
    for number in (1, 2, 3):
        machine.shard = (number, 3)
        built = build([mixed], tmp_path / "out", SMALL, machine)
        assert built.packed is None
        counts.append(built.sources)
    assert sum(counts) == 8
    assert max(counts) < 8
    assert not (tmp_path / "out" / "videos.parquet").exists()
    machine.shard = None
    built = build([mixed], tmp_path / "out", SMALL, machine)
    assert not built.made  # every share had been done
    assert contents(tmp_path / "out") == expected


@pytest.mark.timeout(1200)  # a cluster of processes is started
def test_a_dask_cluster_makes_the_same_dataset(mixed: Path, expected: dict[str, str], tmp_path: Path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    )
    with cluster, open_executor(cluster.scheduler_address.replace("tcp://", "dask://")) as executor:
        built = build([mixed], tmp_path / "out", SMALL, Execution(executor=executor))
    assert built.made["normal"] == 4
    assert contents(tmp_path / "out") == expected


def test_a_changed_option_redoes_what_depends_on_it_and_nothing_else(mixed: Path, tmp_path: Path, machine):
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for name in ("good0", "good1", "mute"):
        shutil.copy(mixed / f"{name}.mp4", root)

    def made(options: Options) -> set[str]:
        return set(build([root], out, options, machine).made)

    cut, normal = Cut(seconds=1.0), Normal(short_side=64, preset="ultrafast")
    assert made(Options(cut=cut, normal=normal)) == {"probe", "normal", "observed", "scores", "clips"}
    first = contents(out)
    assert made(Options(cut=cut, normal=normal)) == set()
    assert contents(out) == first
    assert made(Options(cut=cut, normal=normal, split=Split(test=0.3))) == set()
    assert made(Options(cut=cut, normal=normal, sync=Sync(max_offset=0.5))) == {"scores"}
    assert made(Options(cut=Cut(seconds=1.2), normal=normal)) == {"scores", "clips"}
    assert made(Options(cut=cut, normal=normal, shots=Shots(threshold=20))) == {"observed", "scores"}
    assert made(Options(cut=cut, normal=Normal(short_side=48))) == {"normal", "observed", "scores", "clips"}
    assert made(Options(cut=cut, normal=normal)) == set()
    assert contents(out) == first
    assert not set(tree(out / "clips")) - {name.removeprefix("clips/") for name in first}


def test_a_raised_version_redoes_its_stage_and_what_uses_its_results(tmp_path: Path, machine, monkeypatch):
    write_clapper(tmp_path / "in" / "a.mp4", frames=40)
    assert set(build([tmp_path / "in"], tmp_path / "out", SMALL, machine).made) == {"probe", *VERSIONS}
    first = contents(tmp_path / "out")
    for stage, redone in {
        "normal": {"normal", "observed", "scores", "clips"},
        "observed": {"observed", "scores"},  # clips are cut from "normal"; they change where spans or shifts do
        "scores": {"scores"},
        "clips": {"clips"},
    }.items():
        monkeypatch.setitem(VERSIONS, stage, VERSIONS[stage] + 1)
        assert set(build([tmp_path / "in"], tmp_path / "out", SMALL, machine).made) == redone
        assert contents(tmp_path / "out") == first


def test_a_changed_source_is_built_anew_and_a_deleted_one_leaves(tmp_path: Path, machine):
    root, out = tmp_path / "in", tmp_path / "out"
    for seed in (1, 2):
        write_clapper(root / f"{seed}.mp4", frames=40, seed=seed)
    build([root], out, SMALL, machine)
    assert len(open_manifest(out)) == 2
    write_clapper(root / "1.mp4", frames=40, seed=3)
    (root / "2.mp4").unlink()
    built = build([root], out, SMALL, machine)
    assert built.made["normal"] == 1
    assert len(open_manifest(out)) == len(list((out / "clips").rglob("*.mp4"))) == 1


def test_damage_to_the_store_is_mended(mixed: Path, expected: dict[str, str], tmp_path: Path, machine):
    out = tmp_path / "out"
    build([mixed], out, SMALL, machine)
    for stage in ("normal", "observed", "clips", "probe"):
        record = sorted((out / ".work" / stage).rglob("*.json"))[0]
        record.write_bytes(record.read_bytes()[:10])
    artefact = sorted((out / ".work" / "normal").rglob("*.mp4"))[-1]
    os.truncate(artefact, 100)
    build([mixed], out, SMALL, machine)
    assert contents(out) == expected


@pytest.mark.parametrize(("how", "reason"), [("hang", "timeout"), ("die", "crashed"), ("raise", "error")])
def test_a_source_that_fails_costs_itself_and_is_tried_again_when_asked(tmp_path: Path, machine, how, reason):
    root, out = tmp_path / "in", tmp_path / "out"
    write_clapper(root / "a.mp4", frames=40)
    local = Execution(workers=1, timeout=20.0 if how != "hang" else 6.0)
    assert build([root], out, SMALL, local, scorer=ScorerThatFails(how)).outcomes == {reason: 1}
    assert build([root], out, SMALL, machine).outcomes == {reason: 1}
    machine.retry = True
    assert build([root], out, SMALL, machine).outcomes == {"kept": 1}
    machine.retry = False
    assert build([root], out, SMALL, machine).outcomes == {"kept": 1}


def test_real_odd_and_damaged_files_are_all_accounted_for(shared_data: Path, tmp_path: Path, machine):
    root = tmp_path / "in"
    faces = sorted((shared_data / "talking_faces" / "clips").iterdir())[:4]
    (root / "faces").mkdir(parents=True)
    for face in faces:
        shutil.copy(face, root / "faces")
    odd = shutil.copytree(shared_data / "odd_files", root / "odd")
    damaged = root / "damaged"
    damaged.mkdir()
    whole = faces[0].read_bytes()
    rng = random.Random(0)
    (damaged / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (damaged / "empty.mp4").write_bytes(b"")
    (damaged / "holes.mp4").write_bytes(
        whole[: len(whole) // 3] + rng.randbytes(len(whole) // 3) + whole[-len(whole) // 3 :]
    )
    (damaged / "zeros.mp4").write_bytes(bytes(100_000))
    (damaged / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/a.ts\n")
    before = tree(root)
    build([root], tmp_path / "out", Options(cut=Cut(seconds=1.0)), machine)
    assert tree(root) == before
    sources = rows(tmp_path / "out" / "sources.parquet")
    files = [path for path in root.rglob("*") if path.suffix != ".json"]
    assert sorted(row["source"] for row in sources) == sorted(
        f"in/{path.relative_to(root).as_posix()}" for path in files if path.is_file()
    )
    assert len(list(odd.iterdir())) > 30
    reasons = {row["source"].removeprefix("in/"): row["reason"] for row in sources}
    assert {reason for reason in reasons.values() if reason} <= set(REASONS) - {"error", "crashed", "timeout"}
    assert all(row["why"] for row in sources if row["reason"])
    assert all((row["reason"] is None) == (row["clips"] > 0) for row in sources)
    assert [reasons[f"faces/{face.name}"] for face in faces] == [None] * 4
    assert reasons["damaged/cut.mp4"] == "broken"
    assert reasons["damaged/holes.mp4"] == "broken"
    assert (
        reasons["damaged/empty.mp4"] == reasons["damaged/playlist.mp4"] == reasons["damaged/zeros.mp4"] == "not_media"
    )
    assert reasons["odd/liveportrait_16frames_silent_audio.mp4"] == "silent"
    bounds = {row["source"].removeprefix("in/"): row["delay_bound"] for row in sources}
    assert reasons["odd/mmaction2_test_mpeg4_mp3.avi"] is None
    assert 0.01 < bounds["odd/mmaction2_test_mpeg4_mp3.avi"] < 0.03  # MP3's usual delays, unsaid in AVI
    assert reasons["odd/moviepy_audio_only.mp4"] == "no_video"


def test_reasons_follow_the_options(tmp_path: Path, machine):
    root = tmp_path / "in"
    write_clapper(root / "off.avi", codec="libmp3lame", rate=16000, frames=60)
    write_clapper(root / "still.mp4", frames=60, seed=-1)
    write_clapper(root / "long.mp4", frames=60, audio_frames=120, seed=1)
    cut = Cut(seconds=1.0)
    built = build([root], tmp_path / "out", Options(cut=cut), machine)
    assert built.outcomes == {"unsignalled_offset": 1, "still": 1, "length_mismatch": 1}
    table = {row["source"]: row for row in rows(tmp_path / "out" / "sources.parquet")}
    assert table["in/off.avi"]["delay_bound"] == pytest.approx(0.072)
    assert "--accept.delay_tolerance=0.072" in table["in/off.avi"]["why"]
    assert "--accept.delay_tolerance" in (tmp_path / "out" / "card.html").read_text()
    accept = Accept(unsignalled=True, length_tolerance=5.0)
    built = build([root], tmp_path / "out", Options(accept, cut=Cut(seconds=1.0, still=1.0)), machine)
    assert built.outcomes == {"kept": 3}


def test_evil_names_and_places(tmp_path: Path, machine):
    root = tmp_path / "in"
    names = [
        "-dash.mp4",
        "new\nline.mp4",
        "<script>alert(1)</script>.mp4".replace("/", "_"),
        "ünï, %03d.mp4",
        "'\"&.mp4",
    ]
    for seed, name in enumerate(names):
        write_clapper(root / name, frames=30, seed=seed)
    (root / "folder.mp4").mkdir()
    (root / "loop").symlink_to(root)
    (root / "nowhere.mp4").symlink_to(root / "missing.mp4")
    (root / "itself.mp4").symlink_to(root / "itself.mp4")
    with open(os.fsencode(root) + b"/\xff.mp4", "wb") as file:
        file.write(b"x")
    built = build([root], tmp_path / "out", SMALL, machine)
    assert built.outcomes == {"kept": 5, "unreadable": 3}
    table = {row["source"]: row["why"] for row in rows(tmp_path / "out" / "sources.parquet")}
    assert "leads to itself" in table["in/itself.mp4"]
    page = (tmp_path / "out" / "card.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for bad in (root, root / "deep", tmp_path):
        with pytest.raises(ValueError, match="choose a folder elsewhere"):
            build([root], bad, SMALL, machine)
    assert not (root / "deep").exists()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        build([tmp_path / "nothing"], tmp_path / "out", SMALL, machine)
    with pytest.raises(ValueError, match="given twice"):
        build([root, root / ".." / "in"], tmp_path / "out", SMALL, machine)


def test_executors_and_shares_are_checked():
    for bad in ("0/3", "4/3", "a/b", "3", "-1/2"):
        with pytest.raises(ValueError, match="expected I/N"):
            parse_share(bad)
    assert parse_share("2/8") == (2, 8)
    with pytest.raises(ValueError, match="expected dask://"), open_executor("ray://x"):
        pass
    assert OnsetScorer(0.5).name() != OnsetScorer(0.6).name()
