"""Lightning's loggers beside the built-in ones: every row once, whatever is killed and resumed."""

import csv
import json
import os
import signal
import sys
import time
from pathlib import Path

import forked
import yaml
from lightning.pytorch.loggers import Logger

from avssl.recipe.checkpoints import steps_saved
from avssl.training.loggers import Forwarding, continue_experiments

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent


class Appending(Logger):
    """Like a tracking server: it takes every row that it is sent, and continues a run of a given id."""

    def __init__(self, folder: str, run_id: str | None = None) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run_id = run_id or f"run{len(list(self.folder.iterdir()))}"

    @property
    def name(self):
        return "appending"

    @property
    def version(self):
        return self.run_id

    def log_metrics(self, metrics, step=None):
        self._add({"step": step, **metrics})

    def log_hyperparams(self, params, *args, **kwargs):
        self._add({"parameters": params})

    def finalize(self, status):
        self._add({"status": status})

    def _add(self, entry):
        with (self.folder / self.run_id).open("a") as file:
            file.write(json.dumps(entry) + "\n")


def entries(folder, kind="step"):
    files = list(folder.iterdir())
    assert len(files) == 1
    return [entry for line in files[0].read_text().splitlines() if kind in (entry := json.loads(line))]


def rows(path):
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def test_rows_are_sent_with_the_checkpoint_that_holds_them(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a,b\n1,0.5,\n2,,0.25\n3,0.75,\n")
    (tmp_path / "config.yaml").write_text("seed: 7\n")
    first = Forwarding([Appending(tmp_path / "log")], tmp_path)
    first.begin(0)
    assert entries(tmp_path / "log") == []
    first.forward(2)
    assert entries(tmp_path / "log") == [{"step": 1, "a": 0.5}, {"step": 2, "b": 0.25}]
    again = Forwarding([Appending(tmp_path / "log", "run0")], tmp_path)  # killed, and resumed from step 2
    again.begin(2)
    again.forward(3)
    assert [entry["step"] for entry in entries(tmp_path / "log")] == [1, 2, 3]
    assert entries(tmp_path / "log", "parameters") == [{"parameters": {"seed": 7}}]


def test_a_new_experiment_gets_every_row(tmp_path):
    (tmp_path / "metrics.csv").write_text("step,a\n1,0.5\n2,0.25\n")
    Forwarding([Appending(tmp_path / "one")], tmp_path).begin(2)
    other = Appending(tmp_path / "other", "another")
    Forwarding([other], tmp_path).begin(2)
    assert [entry["step"] for entry in entries(tmp_path / "other")] == [1, 2]


def test_ids_are_given_again_unless_the_user_gives_one(tmp_path):
    (tmp_path / "loggers.json").write_text(json.dumps([{"class": "Appending", "version": "run7", "step": 3}]))
    from jsonargparse import Namespace

    for given, wanted in ((None, "run7"), ("mine", "mine")):
        logger = Namespace(class_path="x.Appending", init_args=Namespace(folder="log", run_id=given))
        continue_experiments([logger], tmp_path)
        assert logger.init_args.run_id == wanted


def test_a_killed_and_resumed_run_logs_every_row_once(world, tmp_path):
    config = yaml.safe_load((ROOT / "configs/shuffle_learn.yaml").read_text())
    loggers = {"lightning.pytorch.loggers.CSVLogger": "save_dir", "test_loggers.Appending": "folder"}
    config["logger"] = [
        {"class_path": path, "init_args": {folder: str(tmp_path / path.rpartition(".")[2])}}
        for path, folder in loggers.items()
    ]
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    command = [
        *(sys.executable, "-m", "avssl", "train", str(path), f"--data.root={world}", f"--runs={tmp_path}"),
        *("--data.workers=0", "--data.rounds=1", "--data.batch_size=4", "--data.transform.init_args.size=32"),
        *("--method.init_args.encoder.init_args.width=8", "--trainer.max_steps=30", "--trainer.log_every_n_steps=1"),
        *("--checkpoint_minutes=0.01", "--measure_every=7"),
    ]
    places = os.pathsep.join([str(HERE), str(ROOT)])
    environment = {**os.environ, "PYTHONPATH": places, "OMP_NUM_THREADS": "1"}
    run = tmp_path / "shuffle_learn"
    process = forked.start(command, env=environment)
    while not steps_saved(run / "checkpoints"):
        assert process.poll() is None, process.stdout + process.stderr
        time.sleep(0.05)
    time.sleep(0.3)  # the rows that the checkpoint holds are forwarded
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = forked.run(command, check=True, env=environment)
    assert " 0 of 30 steps done" not in done.stdout
    exact = rows(run / "metrics.csv")
    assert [row["step"] for row in exact] == list(range(1, 31))
    assert entries(tmp_path / "Appending") == exact
    assert len(entries(tmp_path / "Appending", "parameters")) == 1
    assert entries(tmp_path / "Appending", "status") == [{"status": "success"}]
    (kept,) = (tmp_path / "CSVLogger").rglob("metrics.csv")
    assert rows(kept) == exact
    hyperparameters = yaml.safe_load(kept.with_name("hparams.yaml").read_text())
    assert hyperparameters["trainer"]["max_steps"] == 30


def test_one_logger_is_chosen_on_the_command_line(tmp_path):
    from avssl.training.config import parse

    words = ["--logger.class_path=lightning.pytorch.loggers.CSVLogger", f"--logger.init_args.save_dir={tmp_path}"]
    made, config = parse(["shuffle_learn", *words])
    assert type(made.instantiate(config).logger).__name__ == "CSVLogger"
