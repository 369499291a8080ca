"""Plans: the videos, methods, seeds and judges of a comparison, read from a YAML file."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from avssl.catalog.copies import prepare
from avssl.catalog.encode import CopyOptions
from avssl.catalog.index import build_index, open_manifest


@dataclass(frozen=True)
class Plan:
    """A comparison of methods; paths in it are relative to the current folder.

    Attributes:
        name: name of its file, without the ending.
        videos: folders or manifests of unlabelled videos.
        methods: for each run name ``config`` (a path or a packaged name), ``changes`` (overrides of that config) and
            ``cpu_minutes`` (a budget of its own).
        seeds: seeds of pretraining.
        judge: ``avssl`` commands that judge a run; ``{run}`` and ``{videos}`` stand for its folder and the videos,
            ``{labelled}`` for the manifest of ``labelled``.
        cpu_minutes: budget of each pretraining, in minutes of CPU time; None leaves the number of steps to the config.
        group: regular expression for the group in a video's relative path.
        prepare: options of `CopyOptions` for training-ready copies; None trains on the videos themselves.
        labelled: videos that are judged by, as arguments of `build_index`: ``root``, ``labels``, ``group``, ...
    """

    name: str
    videos: list[str]
    methods: dict[str, dict[str, Any]]
    seeds: list[int]
    judge: list[str]
    cpu_minutes: float | None = None
    group: str | None = None
    prepare: dict[str, Any] | None = None
    labelled: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read a plan; raise ValueError if a key is unknown or missing, or a judge is not a command of avssl."""
        entries = {"name": path.stem, **yaml.safe_load(path.read_text(encoding="utf-8"))}
        try:
            plan = cls(**entries)
        except TypeError as error:
            known = ", ".join(field.name for field in fields(cls)[1:])
            raise ValueError(f"{path}: {error}; the keys of a plan are {known}") from error
        for command in plan.judge:
            if not command.startswith("avssl "):
                raise ValueError(f"{path}: judge {command!r}: expected a command such as 'avssl evaluate PROTOCOL ...'")
        return plan

    def settings(self, method: str) -> dict[str, Any]:
        """Return the settings that two results of a method must share to be compared."""
        entry = self.methods[method]
        return {"method": entry, "cpu_budget": entry.get("cpu_minutes", self.cpu_minutes)}

    def prepare_videos(self, folder: Path) -> list[str]:
        """Return the collections to train on, after making the copies that are missing in ``folder/videos``."""
        if self.prepare is None:
            return self.videos
        options, manifests = CopyOptions(**self.prepare), []
        for source in self.videos:
            copies = folder / "videos" / Path(source).name
            if not (copies / "videos.parquet").exists():
                index = copies.with_suffix(".parquet")
                videos = build_index(source, index, group=self.group) if self.group else open_manifest(Path(source))
                prepare(videos, copies, options)
            manifests.append(str(copies / "videos.parquet"))
        return manifests

    def index_labelled(self, folder: Path) -> Path | None:
        """Return the manifest of the labelled videos, ``folder/labelled.parquet``, after making it if it is missing."""
        if self.labelled is None:
            return None
        manifest = folder / "labelled.parquet"
        if not manifest.exists():
            build_index(out=manifest, **self.labelled)
        return manifest


def check_settings(cost: Path, settings: dict[str, Any]) -> None:
    """Refuse a result that was made with other settings than the plan's; the ValueError names the folder to delete."""
    made = json.loads(cost.read_text())["settings"]
    if made != settings:
        raise ValueError(f"{cost.parent} was made with {made}, the plan says {settings}: delete it to make it again")
