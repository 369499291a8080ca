"""A training on segments of a long film and members of an archive, as a user starts it."""

from __future__ import annotations

import signal
import sys
import tarfile
import time
from fractions import Fraction
from pathlib import Path

import forked
import psutil
import pytest
from test_run import command, outcome

from avssl.catalog.index import build_index
from avssl.catalog.manifest import Manifest
from avssl.recipe.checkpoints import steps_saved

sys.path.insert(0, str(Path(__file__).parents[1] / "media"))
from flashclick import Recipe, write

# A small method without batch normalisation, whose figures are those of a process: two processes train as one does.
SMALL = ("--method.init_args.encoder.init_args.norm=layer", "--optimizer.class_path=torch.optim.SGD")
SMALL += ("--trainer.max_steps=8", "--measure_every=99", "--data.transform.init_args.size=24")


def words(mixed: Path, runs: Path, *more: str) -> list[str]:
    return [word.replace("shuffle_learn", "rotnet") for word in command(mixed, runs, *SMALL, *more)]


def run(mixed: Path, runs: Path, *more: str) -> str:
    return forked.run(words(mixed, runs, *more), check=True).stdout


@pytest.fixture(scope="module")
def mixed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of twelve segments and twelve members."""
    folder = tmp_path_factory.mktemp("mixed")
    for name in ("long", "shards"):
        (folder / name).mkdir()
    write(Recipe("long/film.mp4", fps=Fraction(25), frames=300, size=(64, 64)), folder)
    rows = [f"film.mp4,{part},{part + 1},of{part % 3}" for part in range(12)]
    (folder / "list.csv").write_text("\n".join(["path,start,stop,group", *rows]))
    with tarfile.open(folder / "shards" / "films.tar", "w") as tar:
        for path in sorted(world.glob("*/*.mp4"))[:12]:
            tar.add(path, path.relative_to(world).as_posix())
    parts = [
        build_index(folder / "long", folder / "long.parquet", labels=folder / "list.csv", workers=1),
        build_index(folder / "shards", folder / "shards.parquet", workers=1),
    ]
    Manifest.concat(parts).write(folder / "videos.parquet")
    return folder / "videos.parquet"


def test_killed_and_resumed_with_workers_it_gives_the_same_weights(mixed: Path, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(mixed, whole, "--data.workers=0")
    expected = outcome(whole / "rotnet")

    process = forked.start(words(mixed, killed, "--data.workers=2"))
    while not any(int(path.stem[5:]) >= 3 for path in steps_saved(killed / "rotnet" / "checkpoints")):
        assert process.poll() is None, process.stderr
        time.sleep(0.01)
    readers = psutil.Process(process.pid).children(recursive=True)
    assert readers
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    _, orphans = psutil.wait_procs(readers, timeout=20)
    assert not orphans
    assert not (killed / "rotnet" / "encoder").exists()
    assert " 0 of 8 steps done" not in run(mixed, killed, "--data.workers=2")
    assert outcome(killed / "rotnet") == expected

    assert not list(tmp_path.glob("*/*/quarantine*"))
