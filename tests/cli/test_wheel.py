"""The wheel, installed outside the clone, does what its users are promised."""

import json
import os
import site
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*words, cwd, **environment):
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """An sdist of the files that git knows, and the wheel built from it."""
    out = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("clone")
    for name in call("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT).splitlines():
        if not name.startswith("benchmarks/") and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, cwd=copy)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The folder of programs of a new environment with the wheel, beside the packages of the running one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=os.name != "nt", with_pip=False)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "running.pth").write_text("\n".join(site.getsitepackages()))  # only added to sys.path: no .pth there
    pip = ("-m", "pip", "--python", folder / "bin/python", "install", "--no-deps", "--no-index", "--quiet", built[1])
    call(sys.executable, *pip, cwd=folder)
    return folder / "bin"


def test_the_distributions_are_complete(built):
    sdist, wheel = built
    held = set(zipfile.ZipFile(wheel).namelist())
    assert {"avssl/configs/shuffle_learn.yaml", "avssl/configs/eval/folder.yaml", "avssl/py.typed"} <= held
    assert {f"avssl/{path.relative_to(ROOT / 'avssl')}" for path in (ROOT / "avssl").rglob("*.py*") if
            path.suffix in (".py", ".pyi")} <= held  # fmt: skip
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert not any(name.startswith(("tests", "tools", "docs")) for name in held)
    with tarfile.open(sdist) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {"configs/shuffle_learn.yaml", "tests/conftest.py", "LICENSE", "README.md", "setup.py"} <= names


def test_the_command_works_outside_the_clone(installed, world, tmp_path):
    say = {"cwd": tmp_path, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    where = call(installed / "python", "-c", "import avssl; print(avssl.__file__)", **say)
    assert Path(where.strip()).is_relative_to(installed.parent)
    command = installed / "avssl"
    assert "shuffle_learn" in call(command, "configs", **say)
    small = ("--data.transform.init_args.size=32", "--data.batch_size=4", "--data.workers=0", "--data.rounds=1")
    mine = ("shuffle_learn", f"--data.root={world}", "--method.init_args.encoder.init_args.width=8", *small)
    run = tmp_path / "runs/shuffle_learn"
    views = ("--views.clips=1", "--views.num_frames=4", "--views.size=32", "--split.init_args.folds=2")
    plain = (
        "--low_shot=null",
        "--layout=null",
        "--layout_mean=null",
        "--linear.strengths=[1]",
        "--neighbours.ks=[1]",
        "--machine.workers=0",
    )
    words = ("folder", f"--data.root={world}", f"--run={run}", *plain, *views)
    one = "import sys, json; from avssl.cli import main; sys.exit(any(map(main, json.loads(sys.argv[1]))))"
    commands = [["train", *mine, "--trainer.max_steps=2"], ["show", *mine, "-o", "sheet.png", "--videos=1"]]
    commands.append(["evaluate", *words])
    said = call(installed / "python", "-c", one, json.dumps(commands), **say)  # in one process: each imports torch
    assert (run / "encoder/encoder.safetensors").exists()
    assert "sheet.png" in said
    assert (tmp_path / "sheet.png").exists()
    assert "linear" in json.loads(Path(tmp_path, said.splitlines()[-1]).read_text())["results"]["pretrained"]
