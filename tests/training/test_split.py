"""The split of a run is kept: what it was trained on is never held out, whatever becomes of the collection."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import load_encoder, weights_hash
from avssl.recipe.checkpoints import steps_saved
from avssl.runtime.locks import InUse
from avssl.training.config import parse, train
from avssl.training.data import parts, split
from avssl.training.run import Metrics
from avssl.training.split import RunSplit, draw


def collection(names, contents=None, groups=None):
    facts = {"root": "/v", "status": "ok", "duration": 3.0, "size_bytes": 1, "mtime_ns": 0, "reader": "x", "fps": 25.0}
    facts |= {"height": 64, "width": 64, "frames": 75, "vfr": False, "codec": "h264", "container": "mov", "rotation": 0}
    facts |= {"origin": 0.0, "seekable": True, "backends": ["pyav"], "sync_grade": "none"}
    own = {"content": contents or names, "group": groups or [None] * len(names)}
    rows = [{**facts, "path": name, **{key: own[key][row] for key in own}} for row, name in enumerate(names)]
    return Manifest.from_rows(rows)


def sides(videos, kept):
    return [set(part.column("content").to_pylist()) for part in parts(videos, kept.held_out)]


def test_a_grown_shrunk_and_renamed_collection_holds_out_nothing_that_was_trained_on(tmp_path):
    names = [f"v{number:02d}.mp4" for number in range(13)]
    before = collection(names)
    RunSplit.of(before, draw(before.units(), 0.15)).write(tmp_path)
    kept = RunSplit.read(tmp_path)
    trained, held = sides(before, kept)
    assert [trained, held] == [set(part.column("content").to_pylist()) for part in split(before, 0.15)]
    kept.check(before, tmp_path)

    files = names + [f"w{number:02d}.mp4" for number in range(40)]
    grown = collection(files)
    with pytest.raises(ValueError, match=r"40 of 53 videos are new, 0 are gone.*--data.changed=extend"):
        kept.check(grown, tmp_path)
    extended = kept.extended(grown, 0.15)
    now_trained, now_held = sides(grown, extended)
    assert trained < now_trained
    assert held < now_held
    assert len(now_held - held) == 6  # 15 % of what is new

    less = collection(files[20:])  # all of the first collection is gone
    lessened = extended.extended(less, 0.15)
    lessened.write(tmp_path)
    renamed = collection([f"renamed/{name}" for name in files], files)
    again = RunSplit.read(tmp_path).extended(renamed, 0.5)
    assert sides(renamed, again) == [now_trained, now_held]


def test_a_group_in_which_anything_was_trained_on_is_trained_on():
    names = [f"v{number}.mp4" for number in range(4)]
    before = collection(names, groups=["a", "b", "c", "d"])
    kept = RunSplit.of(before, np.array([False, True, False, True]))
    joined = collection([*names, "new.mp4"], groups=["x", "x", "y", "d", "d"])
    after = kept.extended(joined, 0.5)
    assert after.held_out.tolist() == [False, False, False, True, True]


SMALL = (
    *("shuffle_learn", "--method.init_args.encoder.init_args.width=8", "--data.transform.init_args.size=32"),
    *("--data.batch_size=4", "--data.rounds=1", "--data.workers=0", "--checkpoint_minutes=1000"),
)


def test_a_second_run_of_one_name_is_refused_before_it_writes(world, tmp_path):
    hold = "import sys\nfrom pathlib import Path\nfrom avssl.runtime.locks import only_user\n"
    hold += "with only_user(Path(sys.argv[1])):\n    print(flush=True)\n    sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "one")], **pipes) as holder:
        holder.stdout.readline()
        with pytest.raises(InUse, match=f"in use by process {holder.pid} on .* choose another name"):
            train([*SMALL, f"--data.root={world}", f"--runs={tmp_path}", "--trainer.max_steps=4", "--name=one"])
        holder.stdin.close()
    assert [path.name for path in (tmp_path / "one").iterdir()] == [".lock"]


def test_a_list_of_collections_on_the_command_line_is_one():
    roots = [parse([*SMALL, "--trainer.max_steps=4", f"--data.root={root}"])[1].data.root for root in ("[a,b]", "a,b")]
    assert roots == [["a", "b"], "a,b"]


@contextlib.contextmanager
def ctrl_c(times):
    """Press Ctrl-C a number of times in the middle of the second step."""

    def pressed(self, trainer, *arguments):
        for _ in range(times if trainer.global_step == 2 else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return measure(self, trainer, *arguments)

    measure = Metrics.on_train_batch_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Metrics, "on_train_batch_end", pressed)
        yield


def test_after_ctrl_c_a_run_resumes_where_it_was_unless_its_collection_has_changed(world, tmp_path, capfd):
    root = tmp_path / "videos"
    shutil.copytree(world, root)
    words = [*SMALL, f"--data.root={root}", f"--runs={tmp_path}", "--trainer.max_steps=4"]
    train([*words, "--name=whole"])
    wanted = weights_hash(load_encoder(tmp_path / "whole"))
    words.append("--name=stopped")
    for presses in (2, 1):
        with pytest.raises(SystemExit) as stop, ctrl_c(presses):
            train(words)
        assert stop.value.code == 130
        saved = steps_saved(tmp_path / "stopped" / "checkpoints")
        assert [path.name for path in saved] == ([] if presses == 2 else ["step-00000002.ckpt"])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    new = min(root.rglob("*.mp4")).with_name("zz_new.mp4")
    content = min(root.rglob("*.mp4")).read_bytes() + b"\0\0\0\x08free"
    new.write_bytes(content)
    with pytest.raises(SystemExit, match=r"1 of 25 videos are new, 0 are gone.*--data.changed=extend"):
        train(words)
    new.unlink()
    capfd.readouterr()
    train(words)
    assert "2 of 4 steps done" in capfd.readouterr().out
    assert weights_hash(load_encoder(tmp_path / "stopped")) == wanted
    held_out = RunSplit.read(tmp_path / "stopped").held_out
    new.write_bytes(content)
    train([*words, "--data.changed=extend"])
    said = capfd.readouterr().out
    assert "1 of 25 videos are new, 0 are gone" in said
    assert "4 of 4 steps done" in said
    place = open_manifest(root).paths().index(new)
    assert np.delete(RunSplit.read(tmp_path / "stopped").held_out, place).tolist() == held_out.tolist()
