"""The command: its list, its errors, and the packaged configs."""

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import forked
import pytest

from avssl.cli import COMMANDS, main
from avssl.cli.configs import packaged_configs
from avssl.runtime.configs import configs_folder, find_config

ROOT = Path(__file__).parents[2]
SMALL = ("--method.init_args.encoder.init_args.width=8", "--data.transform.init_args.size=32", "--data.batch_size=8")


def test_help_and_import_leave_torch_alone():
    code = (
        "import sys, avssl\nfrom avssl.cli import main\nassert main(['--help']) == 0\n"
        "assert not {'torch', 'numpy', 'jsonargparse', 'rich'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


def test_help_is_quick():
    def seconds():
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "avssl", "--help"], check=True, capture_output=True)
        return time.perf_counter() - begin

    bare = time.perf_counter()
    subprocess.run([sys.executable, "-c", ""], check=True)
    bare = time.perf_counter() - bare
    assert min(seconds() for _ in range(3)) < 0.3 + bare


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert f"avssl {name}" in said
    assert importlib.import_module(f"avssl.cli.{name.replace('-', '_')}").run.__doc__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "did you mean 'train'?"),
        (["train", "shufle_learn"], "did you mean shuffle_learn?"),
        (["train", "shuffle_learn", "--data.batchsize=3"], "Did you mean 'data.batch_size'?"),
        (["evaluate", "shuffle_learn", "--run=x"], "no packaged evaluation config"),
        (["index", "/nowhere", "-o", "x.parquet"], "/nowhere"),
        (["show", "shuffle_learn"], "-o/--out"),
        (["export", "/nowhere", "-o", "x"], "/nowhere"),
        (["table", "/nowhere"], "/nowhere"),
        (["sync", "x.mp4"], "run"),
        (["synchrony", "/nowhere", "--run=/nowhere"], "/nowhere"),
        (["audio", "/nowhere", "--run=/nowhere"], "/nowhere"),
        (["images", "stages", "/nowhere", "/nowhere", "--run=/nowhere"], "/nowhere"),
        (["build", "/nowhere", "-o", "/nowhere/out"], "/nowhere"),
        (["prepare", "/nowhere", "-o", "/nowhere/out"], "/nowhere"),
        (["synthetic", "--size=31"], "31"),
        (["synthetic", "moon"], "no such world; there are scenes, sphere"),
        (["synthetic", "sphere", "--height=31"], "31"),
        (["configs", "shufle_learn"], "did you mean shuffle_learn?"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(words, message, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1


def test_ctrl_c_saves_the_training_and_has_status_130(world, tmp_path):
    words = ["train", "shuffle_learn", f"--data.root={world}", f"--runs={tmp_path}", *SMALL]
    more = ("--data.workers=1", "--trainer.log_every_n_steps=1")
    process = forked.start([*(sys.executable, "-m", "avssl"), *words, *more], cwd=ROOT)
    metrics = tmp_path / "shuffle_learn/metrics.csv"
    while not (metrics.exists() and metrics.read_text().count("\n") > 1):
        assert process.poll() is None, process.stderr
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to the workers too
    assert process.wait(60) == 130
    assert process.stdout.splitlines()[-1].endswith("the same command resumes from there")
    assert process.stderr.strip().splitlines()[-1].startswith("stopping after this step")
    assert "Traceback" not in process.stderr


def test_configs_are_found_by_name_and_by_path(tmp_path, monkeypatch):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\n")
    assert find_config(mine) == mine
    monkeypatch.chdir(tmp_path)
    for name in ("shuffle_learn", "shuffle_learn.yaml", "configs/shuffle_learn.yaml"):
        assert find_config(name) == configs_folder() / "shuffle_learn.yaml"
    for name in ("paper/vcop_r3d10", "configs/paper/vcop_r3d10.yaml"):
        assert find_config(name) == configs_folder() / "paper/vcop_r3d10.yaml"
    with pytest.raises(FileNotFoundError, match="did you mean paper/vcop_r3d10"):
        find_config("vcop_r3d10")
    assert find_config("configs/eval/folder.yaml", "evaluation") == find_config("folder", "evaluation")
    with pytest.raises(FileNotFoundError):
        find_config("folder")


def test_every_config_is_listed_with_paper_and_task(capsys):
    listed = packaged_configs()
    small = {path.stem for path in (ROOT / "configs").glob("*.yaml")}
    papers = {f"paper/{path.stem}" for path in (ROOT / "configs/paper").glob("*.yaml")}
    assert papers
    assert {config.name for config in listed if config.group == "training"} == small | papers
    assert all(config.paper and config.task for config in listed)
    found = {config.name: config for config in listed}["shuffle_learn"]
    assert found.paper == "Shuffle & Learn (Misra et al., ECCV 2016)"
    assert "0.81" in found.expected
    assert main(["configs"]) == 0
    assert all(config.name in capsys.readouterr().out for config in listed[:1])
    assert main(["configs", "vcop"]) == 0
    assert capsys.readouterr().out == (ROOT / "configs/vcop.yaml").read_text()


def test_no_name_hides_a_module_of_its_package():
    """``avssl.training.run`` must be the module, whatever has been imported before."""
    hidden = []
    for stub in (ROOT / "avssl").rglob("__init__.pyi"):
        for line in stub.read_text().splitlines():
            if line.startswith("from ."):
                source, name = line.split()[1], line.split()[3]
                module = stub.parent / f"{name}.py"
                if source != "." and (module.exists() or (stub.parent / name).is_dir()):
                    hidden.append(line)
    assert hidden == []
