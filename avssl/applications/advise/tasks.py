"""Candidate pretext tasks: what each needs of a collection, what it is given there, and why it fits, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from avssl.applications.advise.survey import Collection
from avssl.runtime.configs import packaged

MOST = 0.5  # share of videos that must have what a task needs
FEWEST = 8  # videos: below, a task has next to nothing to learn from
TOGETHER = 4  # least videos in a batch
WATCHED = 1.4  # seconds of a clip, where videos are long enough
RATIO = 0.7  # of the lower quartile of durations that a clip, or all clips of an item, may fill
SQUARE = ("--data.transform.square=true", "--data.transform.size=56", "--data.transform.flip=0")


@dataclass(frozen=True)
class Task:
    """A candidate.

    Attributes:
        config: name of a packaged config.
        network: what its network is called in tables; tasks with equal networks share an untrained one.
        why: why it may fit, in words.
        changes: overrides of the config for a collection.
        moves: needs motion.
        heard: needs sound.
        shortest: seconds that a video must last; 0 for any.
    """

    config: str
    network: str
    why: str
    changes: Callable[[Collection], tuple[str, ...]]
    moves: bool = False
    heard: bool = False
    shortest: float = 0.3

    def unfit(self, found: Collection) -> str:
        """Say why the task does not fit a collection; empty if it does."""
        if found.seconds[2] < self.shortest:
            return f"needs videos of {self.shortest:g} s; half of these are shorter"
        if self.moves and found.static > MOST:
            return "needs motion; in most of these videos nothing moves"
        if self.heard and found.sound < MOST:
            return f"needs sound; {found.sound:.0%} of these videos have any"
        return ""


def spacing(found: Collection, frames: int, clips: int = 1) -> float:
    """Return seconds between the frames of ``clips`` clips that follow each other, so that they fit most videos."""
    fitting = RATIO * found.seconds[1] / (clips * frames - 1)
    return round(min(WATCHED / (frames - 1), max(0.02, fitting)), 3)


def _clips(found: Collection) -> tuple[str, ...]:
    return (*SQUARE, "--method.encoder.differences=true", f"--method.sampler.step={spacing(found, 8)}")


def _moco(found: Collection) -> tuple[str, ...]:
    return (*_clips(found), "--optimizer.lr=2e-3")


def _motion(found: Collection) -> tuple[str, ...]:
    return (f"--method.sampler.step={spacing(found, 8)}",)


def _whole(found: Collection) -> tuple[str, ...]:
    return ("--data.transform.square=true",)  # its clips are spread over a video, however long it is


def _pace(found: Collection) -> tuple[str, ...]:
    return (*SQUARE, "--method.encoder.differences=true", f"--method.sampler.step={spacing(found, 8, 4)}")


def _vcop(found: Collection) -> tuple[str, ...]:
    step = min(0.14, spacing(found, 8, 3))
    more = ("--optimizer.lr=2e-3", "--data.transform.scale=[0.3,1.0]", "--data.transform.jitter=0.8")
    return (
        *SQUARE,
        *more,
        "--method.encoder.differences=true",
        f"--method.sampler.step={step}",
        "--method.sampler.gap=0.04",
    )


def _tokens(found: Collection) -> tuple[str, ...]:
    size = ("--data.transform.square=true", "--data.transform.size=64", "--data.transform.flip=0")
    return (*size, "--method.encoder.differences=true", f"--method.sampler.step={spacing(found, 8)}")


TASKS = (  # by how well they did in benchmarks/{carries_over,temporal,ut_interaction}.yaml, the best first
    Task("simclr_motion", "RMC", "tells videos apart by what moves in them, whatever the cut and the colours", _motion),
    Task("whole_videos", "MotionNet", "tells whole videos apart by what moves where, and in which order", _whole, True),
    Task("pace", "R3D", "has to know how fast the things in a video usually move", _pace, moves=True, shortest=0.8),
    Task("vcop", "R3D", "has to know what follows what", _vcop, moves=True, shortest=1.2),
    Task("moco", "R3D", "as SimCLR, with many more videos to tell apart at a time", _moco),
    Task("avid", "R3D", "finds out what belongs to which sound", _clips, heard=True, shortest=0.6),
    Task("vjepa", "transformer", "predicts what happens behind a mask, in features", _tokens, moves=True),
)


def candidates(found: Collection) -> tuple[list[Task], list[tuple[Task, str]]]:
    """Return the tasks that fit a collection, the most promising first, and the others with what they lack."""
    why = {
        task.config: nothing_to_learn(found) or task.unfit(found)
        for task in TASKS
        if task.config in packaged("training")
    }
    known = [task for task in TASKS if task.config in why]
    return [task for task in known if not why[task.config]], [
        (task, why[task.config]) for task in known if why[task.config]
    ]


def nothing_to_learn(found: Collection) -> str:
    """Say why no pretext task about video can learn anything from a collection; empty if one may."""
    if found.stills > MOST:
        return "these are still pictures: nothing happens over time"
    if found.black > MOST:
        return "most of these videos are black"
    if found.videos == 1:
        return "this is one video: nothing is left to measure a task on, or to tell it from"
    if found.videos < FEWEST:
        return f"{found.videos} videos are too few to learn from"
    return ""
