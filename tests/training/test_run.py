"""The training command, as a user starts it."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest
import torch

from avssl.catalog.index import open_manifest
from avssl.cli import main
from avssl.encoders import load_encoder, weights_hash
from avssl.recipe.checkpoints import latest, steps_saved
from avssl.training.config import parse, train
from avssl.training.data import split
from avssl.training.measuring import bootstrap

ROOT = Path(__file__).parents[2]
SMALL = ("--method.init_args.encoder.init_args.width=8", "--data.transform.init_args.size=32", "--data.batch_size=8")


def command(world, runs, *more):
    return [
        *(sys.executable, str(ROOT / "tools/train.py"), str(ROOT / "configs/shuffle_learn.yaml")),
        *(f"--data.root={world}", f"--runs={runs}", "--data.rounds=1", "--measure_every=7", *SMALL),
        *("--trainer.log_every_n_steps=1", "--trainer.max_steps=16", "--checkpoint_minutes=0.001", *more),
    ]


def run(*arguments):
    done = forked.run(command(*arguments))
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def uninterrupted(world, tmp_path_factory):
    """A run by a Python started for it: its hashes of strings differ from those of the runs that equal it."""
    runs = tmp_path_factory.mktemp("uninterrupted")
    words = command(world, runs, "--data.workers=0")
    single = os.environ | {"OMP_NUM_THREADS": "1"}  # as of processes that are forked: more threads round otherwise
    done = subprocess.run(words, capture_output=True, text=True, timeout=240, env=single)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return runs / "shuffle_learn", said


def outcome(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
    state = torch.load(latest(folder / "checkpoints"), weights_only=True)
    weights = {name: tensor.flatten().double().sum().item() for name, tensor in state["state_dict"].items()}
    return weights_hash(load_encoder(folder)), weights, sorted(map(str, rows))


def test_a_run_leaves_what_was_promised(uninterrupted):
    folder, said = uninterrupted
    for name in ("config.yaml", "metrics.csv", "tensorboard", "checkpoints", "encoder/encoder.safetensors"):
        assert (folder / name).exists(), name
    assert "accuracy" in said
    assert "chance" in said
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"train/loss", "train/accuracy", "train/chance/accuracy", "val/accuracy", "val/chance/accuracy"} <= set(
        rows[0]
    )
    assert sum(bool(row["train/loss"]) for row in rows) == 16
    assert sum(bool(row["val/loss"]) for row in rows) == 2  # after steps 7 and 14


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(world, tmp_path, uninterrupted, how):
    """With processes that read, see test_mixed.py."""
    process = forked.start(command(world, tmp_path, "--data.workers=0"))
    wanted = 3 + os.getpid() % 5  # some step in the middle
    folder = tmp_path / "shuffle_learn"
    while not any(int(path.stem[5:]) >= wanted for path in steps_saved(folder / "checkpoints")):
        assert process.poll() is None, process.stdout + process.stderr
        time.sleep(0.01)
    process.send_signal(how)
    code = process.wait(60)
    assert code == (75 if how == signal.SIGTERM else -signal.SIGKILL)
    assert not (folder / "encoder").exists()
    code, said = run(world, tmp_path, "--data.workers=0")
    assert code == 0, said
    assert " 0 of 16 steps done" not in said
    assert outcome(folder) == outcome(uninterrupted[0])


def test_a_finished_run_only_measures_again(world, tmp_path, uninterrupted):
    folder, said = uninterrupted
    before = weights_hash(load_encoder(folder))
    code, again = run(world, folder.parent, "--data.workers=0")
    assert code == 0, again
    assert "16 of 16 steps done" in again
    assert weights_hash(load_encoder(folder)) == before
    tables = [[line for line in words.splitlines() if "│" in line] for words in (said, again)]
    assert tables[0] == tables[1]
    assert any("accuracy" in line for line in tables[0])


def test_two_processes_train_one_model(world, tmp_path):
    code, said = run(
        world,
        tmp_path,
        "--data.workers=0",
        "--trainer.devices=2",
        "--trainer.accelerator=cpu",
        "--trainer.strategy=ddp",
        "--trainer.max_steps=3",
        "--measure_every=2",
    )
    assert code == 0, said
    assert "GLOO" in said.upper()
    state = torch.load(latest(tmp_path / "shuffle_learn" / "checkpoints"), weights_only=True)
    assert state["global_step"] == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--optimizer.init_args.lrr=1", "lrr"),
        ("--data.batchsize=3", "Did you mean 'data.batch_size'"),
        ("--seed=abc", "seed"),
        ("--data.root=/nowhere/at/all", "/nowhere/at/all"),
        ("--data.batch_size=4000", "lower data.batch_size"),
        ("--data.held_out=0", "data.held_out"),
    ],
)
def test_a_wrong_config_is_one_clear_line(world, tmp_path, option, message, capsys):
    assert main(["train", *command(world, tmp_path, option)[2:]]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said, said


def test_equal_keys_and_another_config_for_the_same_run_are_refused(world, tmp_path, uninterrupted, capsys):
    text = (ROOT / "configs/shuffle_learn.yaml").read_text()
    twice = tmp_path / "twice.yaml"
    twice.write_text(text + "seed: 1\nseed: 2\n")
    runs = uninterrupted[0].parent
    for words, message in (
        ([str(twice)], "'seed' is given twice"),
        (command(world, runs, "--seed=5", "--data.workers=0")[2:], "seed: 0 before, 5 now"),
        (command("synthetic", runs, "--data.workers=0")[2:], "data.root"),
    ):
        assert main(["train", *words]) == 2
        assert message in capsys.readouterr().err


def test_a_run_that_has_ended_tells_how_to_go_on_from_its_encoder(world, tmp_path, uninterrupted, capsys):
    """The command that the refusal names trains a new run from the weights of the one before."""
    run = uninterrupted[0]
    longer = command(world, run.parent, "--trainer.max_steps=1000")[2:]
    assert main(["train", *longer]) == 2
    said = capsys.readouterr().err
    assert "trainer.max_steps" in said
    remedy = [word for word in said.split() if word.startswith("--method.encoder")]
    assert main(["train", *command(world, tmp_path, "--trainer.max_steps=1", "--optimizer.lr=1e-12")[2:], *remedy]) == 0
    before, after = (load_encoder(path).state_dict() for path in (run, tmp_path / run.name))
    trained = [name for name in before if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in trained)


def test_groups_are_never_split(world):
    videos = open_manifest(world)
    training, measured = split(videos, 0.25)
    assert len(training) == 18
    assert len(measured) == 6
    assert not {info.path for info in training} & {info.path for info in measured}


def test_the_bootstrap_interval_is_that_of_the_mean():
    values = torch.rand(400, generator=torch.Generator().manual_seed(1)).double()
    mean, low, high = bootstrap(values)
    half = 1.96 * values.std().item() / 20
    assert mean == pytest.approx(values.mean().item())
    assert (mean - low, high - mean) == pytest.approx((half, half), rel=0.15)


def test_stores_of_a_config(tmp_path):
    """Their settings come from words and YAML; an address with a password is refused before anything is written."""
    words = [str(ROOT / "configs/shuffle_learn.yaml"), f"--runs={tmp_path / 'runs'}"]
    lab = ["--data.stores.lab.url=s3://b/v", "--data.stores.lab.timeout=3"]
    assert parse([*words, *lab])[1].data.stores == {"lab": {"url": "s3://b/v", "timeout": 3}}
    text = (ROOT / "configs/shuffle_learn.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("data:\n", "data:\n  stores: {lab: {url: 's3://me:geheim@b'}}\n"))
    for given in ([*words, "--data.stores.lab.url=s3://me:geheim@b"], [str(tmp_path / "mine.yaml"), words[1]]):
        with pytest.raises(ValueError, match="store 'lab': url: an address must hold no user") as caught:
            train(given)
        assert "geheim" not in str(caught.value)
    assert not (tmp_path / "runs").exists()
