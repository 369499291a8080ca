"""Faults once found in building, each with the right value."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from fractions import Fraction
from pathlib import Path

import av
import forked
import numpy as np
import pytest
import torch
from folders import contents, rows
from test_builder import SMALL

from avssl.avsync.alone import SHARES, sole_builder
from avssl.avsync.builder import build
from avssl.avsync.clapper import clap_offsets
from avssl.avsync.options import Accept, Cut, Normal, Options, Pack, Shots, Split
from avssl.avsync.reasons import REASONS, REMEDIES
from avssl.avsync.sources import scan
from avssl.media import open_video, probe
from avssl.runtime.locks import InUse
from avssl.synthetic.clapper import write_clapper


def test_a_second_builder_is_told_who_is_at_work(tmp_path: Path, machine) -> None:
    """Two builders in one folder would delete one another's clips."""
    write_clapper(tmp_path / "in" / "a.mp4", frames=40)
    out = tmp_path / "out"
    holder = "import sys, time\nfrom pathlib import Path\nfrom avssl.avsync.alone import sole_builder\n"
    holder += "with sole_builder(Path(sys.argv[1]), None):\n    print('held', flush=True)\n    time.sleep(60)\n"
    process = forked.start([sys.executable, "-c", holder, str(out / ".work")])
    try:
        while not (out / ".work" / ".lock").exists() or not (out / ".work" / ".lock").read_text().strip("\0 "):
            assert process.poll() is None
        with pytest.raises(InUse, match=f"process {process.pid}"):
            build([tmp_path / "in"], out, SMALL, machine)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert build([tmp_path / "in"], out, SMALL, machine).outcomes == {"kept": 1}


def test_shares_work_side_by_side(tmp_path: Path) -> None:
    work = tmp_path / ".work"
    with sole_builder(work, (1, 3)), sole_builder(work, (2, 3)):
        assert sorted(path.name for path in (work / SHARES).iterdir()) == ["1-of-3", "2-of-3"]
        held = [(work / SHARES / f"{number}-of-3" / ".lock").read_text() for number in (1, 2)]
        assert all("process" in text for text in held)
        assert (work / ".lock").read_text() == ""  # they only look whether all is being built


def test_half_written_files_of_a_killed_builder_are_deleted(tmp_path: Path, machine) -> None:
    write_clapper(tmp_path / "in" / "a.mp4", frames=40)
    for place in (".work/normal/00/.ab.partial", "clips/aa/.x.mp4.partial"):
        (tmp_path / "out" / place).parent.mkdir(parents=True)
        (tmp_path / "out" / place).write_bytes(b"half")
    build([tmp_path / "in"], tmp_path / "out", SMALL, machine)
    assert not list((tmp_path / "out").rglob("*.partial"))


def talking(path: Path, moving: bool) -> Path:
    """A small part of a picture moves, or nothing; with noise to hear."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (180, 320, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "18"})
        (video.height, video.width), video.pix_fmt = (180, 320), "yuv420p"
        audio = out.add_stream("flac", rate=16000, layout="mono", format="s16")
        for number in range(50):
            if moving:
                picture[60:80, 150:170] = 120 + 40 * np.sin(number / 2)  # 0.7 % of the picture
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        noise = rng.normal(0, 3000, (1, 32000)).astype(np.int16)
        for place in range(0, 32000, 4096):
            sound = av.AudioFrame.from_ndarray(noise[:, place : place + 4096].copy(), "s16", "mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, place, Fraction(1, 16000)
            out.mux(audio.encode(sound))
        out.mux(audio.encode(None))
    return path


def test_a_small_face_in_a_resting_picture_is_not_still(tmp_path: Path, machine) -> None:
    for name in ("face", "still"):
        talking(tmp_path / "in" / f"{name}.mkv", name == "face")
    build([tmp_path / "in"], tmp_path / "out", Options(cut=Cut(seconds=1.0), shots=Shots(threshold=0)), machine)
    reasons = {row["source"]: row["reason"] for row in rows(tmp_path / "out" / "sources.parquet")}
    assert reasons == {"in/face.mkv": None, "in/still.mkv": "still"}


def skip_more(source: Path, target: Path, samples: int) -> Path:
    """Let the sound begin earlier by some samples, which a player skips, as a cut that copies packets leaves it."""
    with av.open(str(source)) as old, av.open(str(target), "w", options={"movie_timescale": "48000"}) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                packet.pts, packet.dts = packet.pts - samples, packet.dts - samples
            packet.stream = streams[packet.stream.index]
            new.mux(packet)
    return target


def test_a_cut_that_copies_packets_states_no_delay(tmp_path: Path, machine) -> None:
    """What it skips is no encoder's delay; whether that was stated before can't be told."""
    whole = write_clapper(tmp_path / "whole.mp4", frames=100, rate=16000)
    assert probe(whole).sync_grade == "exact"  # it skips AAC's 1024 samples
    (tmp_path / "in").mkdir()
    part = skip_more(whole, tmp_path / "in" / "part.mp4", 384)
    assert probe(part).sync_grade == "unsignalled"
    built = build([tmp_path / "in"], tmp_path / "out", SMALL, machine)
    assert built.outcomes == {"unsignalled_offset": 1}  # AAC at 16 kHz may be 132 ms late
    wide = Options(Accept(delay_tolerance=0.14), cut=Cut(seconds=0.5), shots=Shots(threshold=0))
    assert build([tmp_path / "in"], tmp_path / "out", wide, machine).outcomes == {"kept": 1}


def test_a_known_delay_of_a_corpus_is_taken_out(tmp_path: Path, machine) -> None:
    write_clapper(tmp_path / "in" / "a.avi", 0.1, codec="libmp3lame", frames=100)
    late = {}
    for delay in (0.0, 0.1):
        options = Options(Accept(delay=delay, length_tolerance=3), cut=Cut(seconds=3.0))
        build([tmp_path / "in"], tmp_path / "out", options, machine)
        (clip,) = (row for row in rows(tmp_path / "out" / "clips.parquet") if row["clip"])
        late[delay] = np.median(clap_offsets(tmp_path / "out" / clip["clip"]))
    assert late[0.0] - late[0.1] == pytest.approx(0.1, abs=2e-3)
    (source,) = rows(tmp_path / "out" / "sources.parquet")
    assert (source["delay"], source["sync_grade"]) == (0.1, "unsignalled")


def test_splits_do_not_follow_the_name_of_the_root_folder(tmp_path: Path, machine) -> None:
    first = tmp_path / "first"
    for seed in range(8):
        write_clapper(first / f"{seed}.mp4", frames=30, seed=seed, size=(32, 32))
    options = Options(cut=Cut(seconds=1.0), split=Split(0.3, 0.3))
    build([first], tmp_path / "out", options, machine)
    shutil.copytree(first, tmp_path / "renamed")
    build([tmp_path / "renamed"], tmp_path / "again", options, machine)
    one, two = (
        {row["source"].split("/")[1]: row["split"] for row in rows(tmp_path / out / "sources.parquet")}
        for out in ("out", "again")
    )
    assert one == two
    assert len(set(one.values())) > 1

    about = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert about.pop("splits") == "within"
    (tmp_path / "out" / "dataset.json").write_text(json.dumps(about))  # as older versions wrote it
    build([first], tmp_path / "out", options, machine)
    by_name = {row["source"].split("/")[1]: row["split"] for row in rows(tmp_path / "out" / "sources.parquet")}
    assert by_name != one
    assert json.loads((tmp_path / "out" / "dataset.json").read_text())["splits"] == "name"


def test_frames_keep_their_times_at_the_sources_rate(tmp_path: Path, machine) -> None:
    for fps in (Fraction(24000, 1001), Fraction(30000, 1001)):
        write_clapper(tmp_path / "in" / f"{round(fps)}.mp4", frames=90, fps=fps, seed=int(fps))
    cut = Cut(seconds=2.0)
    build([tmp_path / "in"], tmp_path / "out", Options(cut=cut), machine)
    table = rows(tmp_path / "out" / "sources.parquet")
    assert all(0.01 < row["shown_late_most"] <= 0.0230 for row in table)
    assert "--normal.fps=source" in (tmp_path / "out" / "card.html").read_text()
    build([tmp_path / "in"], tmp_path / "own", Options(cut=cut, normal=Normal(fps="source")), machine)
    for row in rows(tmp_path / "own" / "sources.parquet"):
        assert row["shown_late_most"] < 1e-3
    for row in rows(tmp_path / "own" / "videos.parquet"):
        assert row["fps"] == pytest.approx(24000 / 1001 if "24" in row["group"] else 30000 / 1001, abs=1e-3)


def encoded_again(source: Path, target: Path) -> Path:
    """The same at another size, quality and container."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        video = new.add_stream("libx264", rate=25, options={"crf": "30"})
        (video.height, video.width), video.pix_fmt = (48, 60), "yuv420p"
        audio = new.add_stream("libmp3lame", rate=44100, layout="mono")
        for frame in old.decode(video=0, audio=0):
            stream = video if isinstance(frame, av.VideoFrame) else audio
            if isinstance(frame, av.VideoFrame):
                frame = frame.reformat(60, 48, "yuv420p")
                frame.pict_type = 0
            new.mux(stream.encode(frame))
        for stream in (video, audio):
            new.mux(stream.encode(None))
    return target


def test_a_copy_encoded_again_is_a_duplicate_and_another_take_is_not(tmp_path: Path, machine) -> None:
    root = tmp_path / "in"
    one = write_clapper(root / "1.mp4", frames=100, seed=1)
    write_clapper(root / "2.mp4", 0.2, frames=100, seed=2)
    encoded_again(one, root / "3.mkv")
    options = Options(cut=Cut(seconds=2.0))
    build([root], tmp_path / "out", options, machine)
    found = {row["source"]: (row["reason"], row["why"]) for row in rows(tmp_path / "out" / "sources.parquet")}
    assert found["in/1.mp4"] == found["in/2.mp4"] == (None, None)
    assert found["in/3.mkv"][0] == "duplicate"
    assert "in/1.mp4" in found["in/3.mkv"][1]
    kept = build([root], tmp_path / "out", Options(Accept(copies=True), cut=Cut(seconds=2.0)), machine)
    assert kept.outcomes == {"kept": 3}


def test_alac_holds_the_same_sound(tmp_path: Path, machine) -> None:
    write_clapper(tmp_path / "in" / "a.mp4", frames=40)
    sounds = {}
    for codec in ("flac", "alac"):
        build([tmp_path / "in"], tmp_path / codec, Options(cut=Cut(seconds=1.0, codec=codec)), machine)
        (clip,) = (tmp_path / codec / "clips").rglob("*.mp4")
        with open_video(clip) as reader:
            assert (reader.info.audio.codec, reader.info.sync_grade) == (codec, "exact")
            sounds[codec] = reader.audio(0, 1, 16000).samples
    assert torch.equal(sounds["flac"], sounds["alac"])


def test_a_folder_for_hf_datasets(tmp_path: Path, machine) -> None:
    """By the rules of a ``videofolder``: splits are folders, ``file_name`` is relative to its metadata."""
    for seed in range(4):
        write_clapper(tmp_path / "in" / f"{seed}.mp4", frames=60, seed=seed)
    options = Options(cut=Cut(seconds=1.0), split=Split(0.3, 0.4), pack=Pack("huggingface"))
    out = tmp_path / "out"
    build([tmp_path / "in"], out, options, machine)
    before = contents(out)
    kept = {Path(row["clip"]).name: row for row in rows(out / "clips.parquet") if row["clip"]}
    seen = {}
    for table in (out / "huggingface").rglob("metadata.parquet"):
        lines = rows(table)
        assert {line["file_name"] for line in lines} == {path.name for path in table.parent.glob("*.mp4")}
        seen |= {line["file_name"]: (table.parent.name, line["offset"]) for line in lines}
    assert seen == {name: (row["split"], row["offset"]) for name, row in kept.items()}
    assert {path.suffix for path in (out / "huggingface").rglob("*") if path.is_file()} == {".mp4", ".parquet"}
    build([tmp_path / "in"], out, options, machine)
    assert contents(out) == before
    build([tmp_path / "in"], out, Options(cut=Cut(seconds=1.0)), machine)
    assert not (out / "huggingface").exists()


def test_every_reason_that_can_be_mended_names_its_remedy() -> None:
    assert set(REMEDIES) == set(REASONS) - {"no_video"}


def test_recordings_without_an_ending_are_mentioned(tmp_path: Path, capsys) -> None:
    one = write_clapper(tmp_path / "in" / "a.mp4", frames=30)
    shutil.copy(one, tmp_path / "in" / "recording")
    shutil.copy(one, tmp_path / "in" / "b.f4v")
    (tmp_path / "in" / "README").write_text("no recording")
    assert [source.name for source in scan([tmp_path / "in"])] == ["in/a.mp4", "in/b.f4v"]
    assert (
        "1 files without an ending look like recordings and are left out, such as recording" in capsys.readouterr().err
    )
