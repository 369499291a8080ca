"""``avssl advise``: look, benchmark what exists, try pretext tasks, continue the best, report. Each stage is kept."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from avssl.applications.advise.leaving import HANDMADE, promise
from avssl.applications.advise.plan import ROOM, Plan, make_plan
from avssl.applications.advise.reporting import conclude
from avssl.applications.advise.session import Advice, Session, begin
from avssl.applications.advise.snapshot import snapshot
from avssl.applications.advise.store import Clock, Store
from avssl.applications.advise.tasks import TASKS, Task, candidates, nothing_to_learn
from avssl.applications.advise.telling import Teller
from avssl.applications.advise.trials import Failed, Speed, speed_of, steps_done, train_for
from avssl.encoders import load_encoder
from avssl.evaluation.handmade import MotionEnergy
from avssl.runtime.checks import check_ranges
from avssl.runtime.locks import only_user
from avssl.training.sheet import show

GIVEN_UP = (
    90.0,
    0.1,
)  # seconds, or share of the budget, after which a task that has not made its first steps is given up
STARTS = 2.0  # times its start that a trial lasts at least
NOTED = 2.0  # seconds between two notes of how long a trial has run
SHEET = 2  # videos of a sheet


def benchmark(session: Session, tasks: list[Task]) -> None:
    """Judge what exists: hand-made features, untrained networks, and the user's encoders."""
    session.judge(HANDMADE, MotionEnergy)
    for task in {task.network: task for task in reversed(tasks)}.values():
        place = session.folder / "untrained" / task.network
        words = [*session.words(task, task.config), "--trainer.max_steps=1"]
        session.judge(f"untrained {task.network}", partial(snapshot, words, place))
    for path in session.asked.encoders:
        session.judge(f"given {path.name}", partial(load_encoder, path))


def try_tasks(session: Session, tasks: list[Task], plan: Plan) -> list[Task]:
    """Run the trials of a plan; return the tasks whose trial did not fail."""
    done = []
    for number, task in enumerate(tasks[: plan.trials]):
        title = f"trial {number + 1} of {plan.trials}: {task.config}"
        if session.store.known(f"failed/{task.config}") is not None:
            continue
        try:
            _try(session, task, plan, plan.trials - number - 1, title)
        except Failed as error:
            session.store.keep(f"failed/{task.config}", str(error))
            session.teller.say(f"{title}: failed: {str(error).splitlines()[-1]}")
            continue
        done.append(task)
    return done


def _try(session: Session, task: Task, plan: Plan, still: int, title: str) -> None:
    """Run the trial of a task, with some others ``still`` to come: the beginning of a run of the length it may get."""
    store, name = session.store, task.config
    speed = Speed(*store.stage(f"speed/{name}", lambda: _speed(session, task, title)))

    seconds = max(plan.trial, STARTS * speed.start)

    def steps() -> int:
        left = session.clock.left - seconds - plan.judging
        return max(2, int(ROOM * speed.steps(seconds + plan.continued(left, still))))

    length = store.stage(f"length/{name}", steps)
    store.stage(f"tried/{name}", lambda: _train(session, task, length, seconds, title))
    words = [*session.words(task, name), f"--trainer.max_steps={length}"]
    session.judge(f"{name}, trial", partial(snapshot, words, session.folder / "tried" / name, session.run(task)))
    sheet = session.folder / "sheets" / f"{name}.png"
    sheet.parent.mkdir(exist_ok=True)
    store.stage(f"sheet/{name}", lambda: [str(show(words, sheet, SHEET))])


def _speed(session: Session, task: Task, title: str) -> Speed:
    session.teller.say(f"{title}: measuring its speed")
    name = f"{task.config}-speed"
    return speed_of(
        session.words(task, name), session.folder / "runs" / name, max(GIVEN_UP[0], GIVEN_UP[1] * session.clock.budget)
    )


def _train(session: Session, task: Task, length: int, seconds: float, title: str) -> dict[str, Any]:
    """Train a task until it has had some seconds in all; return these, the steps, and whether it is complete."""
    store, name, run = session.store, task.config, session.run(task)
    before = float((store.known(f"running/{name}") or {"seconds": 0.0})["seconds"])
    complete = False
    begun = noted = time.monotonic()
    with session.teller.training(title, length) as shown:

        def look(steps: int) -> bool:
            nonlocal noted
            shown(steps)
            if time.monotonic() - noted > NOTED:
                noted = time.monotonic()
                store.keep(f"running/{name}", {"seconds": before + noted - begun})
            return True

        words = [*session.words(task, name), f"--trainer.max_steps={length}"]
        if seconds > before:
            complete = train_for(words, run, seconds - before, look)
    spent = {"seconds": before + time.monotonic() - begun}
    store.keep(f"running/{name}", spent)
    if not complete and not steps_done(run):
        raise Failed(f"{name}: no step in {seconds:.0f} s")
    return {**spent, "steps": steps_done(run), "of": length, "complete": complete}


def finalists(session: Session, tasks: list[Task], count: int) -> list[Task]:
    """Return the tasks to continue: by the mean of the inner folds of all outer folds, without labels by criteria."""
    return sorted(tasks, key=lambda task: promise(session.judged[f"{task.config}, trial"]), reverse=True)[:count]


def go_on(session: Session, tasks: list[Task], plan: Plan) -> None:
    """Continue the best tasks with the time that is left, each to the end of its run or of its share of the time."""
    store, clock = session.store, session.clock
    tasks = [task for task in tasks if not store.known(f"tried/{task.config}")["complete"]]
    for number, task in enumerate(tasks):
        name, run = task.config, session.run(task)
        length = store.known(f"length/{name}")
        title = f"continuing {name}" + (f", {number + 1} of {len(tasks)}" if len(tasks) > 1 else "")

        def make(task: Task = task, number: int = number, length: int = length, title: str = title) -> dict[str, Any]:
            before = float(store.known(f"running/{task.config}")["seconds"])
            share = plan.continued(clock.left, 0) * plan.finalists / (len(tasks) - number)
            return _train(session, task, length, before + share, title)

        store.stage(f"continued/{name}", make)
        words = [*session.words(task, name), f"--trainer.max_steps={length}"]
        session.judge(f"{name}, continued", partial(snapshot, words, session.folder / "continued" / name, run))


def advise(asked: Advice) -> Path:
    """Advise; return the path of the report.

    Raises:
        FileNotFoundError, MediaError: if there is no such folder, list or encoder, or no video.
        ValueError: if the settings are wrong, or the folder holds something else.
        InUse: if another advice is at work in that folder.
    """
    check_ranges("", {"minutes": asked.minutes}, minutes="(0, inf)")
    unknown = sorted(set(asked.tasks or ()) - {task.config for task in TASKS})
    if unknown:
        raise ValueError(f"tasks: {unknown[0]!r} is none of {', '.join(task.config for task in TASKS)}")
    for path in asked.encoders:
        load_encoder(path)
    settings = asked.settings()
    with only_user(asked.folder):
        store = Store(asked.folder, settings)
        with Clock(asked.folder, asked.minutes) as clock:
            session = begin(asked, store, clock, Teller(clock))
            fitting, unfit = candidates(session.found)
            fitting = [task for task in fitting if asked.tasks is None or task.config in asked.tasks]
            tried: list[Task] = []
            plan = None
            if not nothing_to_learn(session.found):
                benchmark(session, fitting)
                plan = Plan(**store.stage("plan", lambda: planned(session, len(fitting)).to_json()))
                tried = try_tasks(session, fitting, plan)
                go_on(session, finalists(session, tried, plan.finalists), plan)
            return conclude(session, fitting, unfit, tried, plan)


def planned(session: Session, tasks: int) -> Plan:
    """Divide the time that is left once everything that exists is judged."""
    judging = max(judgement["seconds"] for judgement in session.judged.values())
    return make_plan(session.clock.left, session.asked.minutes, tasks, judging, session.labels is not None)
