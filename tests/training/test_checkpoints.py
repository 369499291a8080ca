import os
import resource
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import forked
import pytest
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

from avssl.recipe.checkpoints import Checkpointing, VerifiedCheckpoints, latest, steps_saved

IO = VerifiedCheckpoints()


def save(folder, step, value=1.0):
    path = folder / f"step-{step:08d}.ckpt"
    IO.save_checkpoint({"weights": torch.full((1000,), value), "step": step}, path)
    return path


def test_what_is_saved_is_read_back(tmp_path):
    path = save(tmp_path, 7, 2.5)
    assert IO.load_checkpoint(path)["step"] == 7
    assert (IO.load_checkpoint(path)["weights"] == 2.5).all()
    assert latest(tmp_path) == path


@pytest.mark.parametrize("damage", ["flip", "truncate", "no digest"])
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, damage, capsys):
    older, newer = save(tmp_path, 5), save(tmp_path, 10)
    content = bytearray(newer.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 1
    newer.write_bytes(content[: len(content) // 2] if damage == "truncate" else content)
    if damage == "no digest":
        newer.with_name(newer.name + ".sha256").unlink()
    assert latest(tmp_path) == older
    assert newer.name in capsys.readouterr().out
    with pytest.raises(ValueError, match="SHA-256"):
        IO.load_checkpoint(newer)


def test_the_newest_by_step_and_not_by_name_or_date(tmp_path):
    for step in (900, 1000, 20):
        save(tmp_path, step)
    (tmp_path / ".step-00002000.ckpt.123").write_bytes(b"half")
    assert [int(path.stem[5:]) for path in steps_saved(tmp_path)] == [1000, 900, 20]
    assert latest(tmp_path / "absent") is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_checkpoint_never_runs_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "step-00000001.ckpt"
    IO.save_checkpoint({"weights": Evil()}, path)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        IO.load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_a_full_disk_leaves_the_old_checkpoint_and_says_so(tmp_path):
    older = save(tmp_path, 5)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be saved"):
            save(tmp_path, 10)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert latest(tmp_path) == older
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_killed_while_saving_there_is_always_a_whole_checkpoint(tmp_path):
    code = (
        "import sys, torch\nfrom pathlib import Path\nfrom avssl.recipe.checkpoints import VerifiedCheckpoints\n"
        "folder, state = Path(sys.argv[1]), {'weights': torch.rand(300_000)}\n"
        "for step in range(1, 10_000):\n"
        "    VerifiedCheckpoints().save_checkpoint(state, folder / f'step-{step:08d}.ckpt')\n"
    )
    process = forked.start([sys.executable, "-c", code, tmp_path])
    while latest(tmp_path) is None:
        time.sleep(0.05)
        assert process.poll() is None, process.stderr
    time.sleep(0.317)
    process.send_signal(signal.SIGKILL)
    process.wait()
    found = latest(tmp_path)
    assert found is not None
    assert int(found.stem[5:]) >= int(steps_saved(Path(tmp_path))[0].stem[5:]) - 1


@pytest.mark.parametrize(("world", "asked"), [(1, [1, 2, 3, 4, 5, 6]), (2, [3, 6])])
def test_several_processes_agree_on_logged_steps_only(tmp_path, world, asked):
    """An agreement waits for the device. Lightning's own, about a signal that ours has taken, is left out."""
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)  # which is what is left out
    seen = []

    def agree(decision, all):
        seen.append(trainer.global_step)
        return decision

    loop = SimpleNamespace(_broadcast_sigterm_tensor=lambda: pytest.fail("Lightning's processes agree"))
    trainer = SimpleNamespace(
        accumulate_grad_batches=1,
        log_every_n_steps=3,
        world_size=world,
        strategy=SimpleNamespace(reduce_boolean_decision=agree),
        fit_loop=SimpleNamespace(epoch_loop=loop),
    )
    callback = Checkpointing(tmp_path, minutes=60)
    callback.on_train_start(trainer, None)
    loop._broadcast_sigterm_tensor()
    for step in range(1, 7):
        trainer.global_step = step
        callback.on_train_batch_end(trainer, None, None, None, step - 1)
    callback.on_exception(trainer, None, KeyboardInterrupt())
    assert sorted(set(seen)) == asked
