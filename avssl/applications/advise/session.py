"""An advice at work: what was asked, what is known of the videos, and what all stages share."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from avssl.applications.advise import collecting
from avssl.applications.advise.judging import Judgement, Labels, judge, labels_of, relabelled
from avssl.applications.advise.store import Clock, Store
from avssl.applications.advise.survey import Collection, survey
from avssl.applications.advise.tasks import TOGETHER, Task
from avssl.applications.advise.telling import Teller
from avssl.catalog.index import open_manifest
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder
from avssl.runtime.configs import find_config
from avssl.runtime.device import Machine
from avssl.training.data import Data
from avssl.training.split import draw

SEED = 0
SIZE = 64  # pixels of the frames for encoders that say nothing of theirs
FITTING = 0.7  # share of the videos that are long enough for any task, see `avssl.applications.advise.tasks.spacing`
HELD_OUT = 0.15  # share of the videos on which pretext tasks are measured


@dataclass(frozen=True)
class Advice:
    """What is asked.

    Args:
        videos: folder of videos, or a manifest.
        folder: where everything is written.
        labels: lists of labels; ``folders`` for class folders, ``own`` for a manifest's own; none are read by default.
        columns: columns of the lists.
        group: regular expression in file names for what must not be split between training and test.
        minutes: budget.
        encoders: run or export folders of pretrained encoders.
        faces: a YuNet face detector.
        sync: run folder of a synchroniser.
        tasks: names of the pretext tasks to choose from; None for all.
        machine: where to compute.
    """

    videos: Path
    folder: Path
    labels: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    group: str | None = None
    minutes: float = 60.0
    encoders: tuple[Path, ...] = ()
    faces: Path | None = None
    sync: Path | None = None
    tasks: tuple[str, ...] | None = None
    machine: Machine = Machine()  # noqa: RUF009

    def settings(self) -> dict[str, Any]:
        """Return what the advice depends on, as JSON values; of lists, their content."""
        lists = [
            hashlib.sha256(Path(one).read_bytes()).hexdigest() if Path(one).is_file() else one for one in self.labels
        ]
        paths = {
            name: None if (path := getattr(self, name)) is None else str(path.resolve()) for name in ("faces", "sync")
        }
        return {
            "videos": str(self.videos.resolve()),
            "labels": lists,
            "columns": dict(self.columns),
            "group": self.group,
            "minutes": self.minutes,
            "encoders": [str(path.resolve()) for path in self.encoders],
            "tasks": None if self.tasks is None else list(self.tasks),
            **paths,
        }


@dataclass
class Session:
    """An advice at work: its stages, its clock, and what all stages need."""

    asked: Advice
    store: Store
    clock: Clock
    teller: Teller
    source: Manifest
    videos: Manifest
    found: Collection
    labels: Labels | None
    unlabelled: str  # why there is nothing to judge by
    judged: dict[str, Judgement] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the advice."""
        return self.store.folder

    def judge(self, name: str, encoder: Callable[[], Encoder]) -> Judgement:
        """Judge an encoder, once, and tell what leads."""

        def make() -> Judgement:
            self.teller.say(f"judging {name}")
            begun = time.monotonic()
            judgement = judge(encoder(), self.videos, self.labels, self.asked.machine, SIZE)
            return {**judgement, "seconds": time.monotonic() - begun}

        self.judged[name] = self.store.stage(f"judged/{name}", make)
        if self.labels is not None:
            best = max(self.judged, key=lambda one: self.judged[one]["all"])
            self.teller.leads = f"{best} ({self.judged[best]['all']:.2f} of the inner folds)"
        return self.judged[name]

    def words(self, task: Task, name: str) -> list[str]:
        """Return the arguments of ``avssl train`` for a task, but for its length."""
        trained = len(self.videos) - int(draw(self.videos.units(), HELD_OUT).sum())
        most = max(TOGETHER, int(FITTING * trained))
        usual = yaml.safe_load(find_config(task.config).read_text())["data"].get("batch_size", Data.batch_size)
        batch = [f"--data.batch_size={most}"] if most < usual else []
        return [
            *(task.config, f"--name={name}", f"--runs={self.folder / 'runs'}", f"--seed={SEED}"),
            *(f"--data.root={self.folder / 'videos' / 'videos.parquet'}", f"--data.held_out={HELD_OUT}"),
            *("--data.rounds=2", "--checkpoint_minutes=0.5", "--trainer.log_every_n_steps=5"),
            *(f"--data.workers={readers(self.asked.machine)}", *batch, *task.changes(self.found)),
        ]

    def run(self, task: Task) -> Path:
        """Return the folder of a task's run."""
        return self.folder / "runs" / task.config


def begin(asked: Advice, store: Store, clock: Clock, teller: Teller) -> Session:
    """Index, copy and look at the videos."""
    teller.say("looking at the videos")
    source = collecting.open_source(asked.videos, asked.labels, asked.columns)
    if not len(source):
        reasons = "; ".join(f"{path.name}: {why}" for path, why in source.rejected[:3])
        raise ValueError(f"{asked.videos}: no video there can be read ({reasons})")
    if asked.labels == ():
        source = relabelled(source, known=False)  # nothing may know what it wasn't told
    moving, videos = collecting.without_images(source), source
    if len(moving):
        place = store.folder / "videos"
        store.stage("copied", lambda: collecting.copy_some(moving, place, collecting.SHARE * clock.budget))
        videos = open_manifest(place)
    facts = store.stage("survey", lambda: survey(source, videos, asked.group, asked.faces, asked.sync).to_json())
    found = Collection(**facts)
    labels = labels_of(videos, asked.group) if asked.labels else "no labels were given"
    known = None if isinstance(labels, str) else labels
    return Session(asked, store, clock, teller, source, videos, found, known, "" if known else str(labels))


def readers(machine: Machine) -> int:
    """Return the number of processes that read videos while another trains; small copies need few."""
    return min(machine.workers, max(1, (os.cpu_count() or 1) - 1))
