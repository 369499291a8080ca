"""The end of an advice: the encoder and the classifier that it leaves, and the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avssl.applications.advise import pictures
from avssl.applications.advise.findings import can_and_cannot, facts
from avssl.applications.advise.judging import clip_features, watched
from avssl.applications.advise.leaving import HANDMADE, leave, place_of, promise
from avssl.applications.advise.plan import Plan
from avssl.applications.advise.session import SIZE, Session
from avssl.applications.advise.survey import sample
from avssl.applications.advise.tasks import Task, nothing_to_learn
from avssl.applications.advise.verdict import (
    BEST,
    LEARNT,
    Worth,
    chosen_words,
    in_words,
    latest,
    without_labels,
    worth_of,
)
from avssl.applications.report import Page
from avssl.catalog.manifest import Manifest
from avssl.encoders import Encoder, load_encoder
from avssl.evaluation.report import cell

QUERIES = 4  # videos whose nearest neighbours are shown
NEAREST = 5
SHOWN = 6  # videos that are shown of the collection
CRITERIA = {
    "rankme": "effective rank",
    "feature_std": "deviation",
    "alignment": "alignment",
    "uniformity": "uniformity",
}


def conclude(
    session: Session,
    fitting: Sequence[Task],
    unfit: Sequence[tuple[Task, str]],
    tried: Sequence[Task],
    plan: Plan | None,
) -> Path:
    """Leave the encoder and the classifier, and write the report, whose path is returned."""
    session.teller.say("writing the report")
    names = [task.config for task in tried]
    worth = None
    if session.labels is not None and session.judged:
        worth = worth_of(session.judged, session.labels, names, plan.finalists if plan else 1, HANDMADE)
    left = leave(session, names)
    page = Page(f"Self-supervision on {session.asked.videos.resolve().name}")
    page.lead(*_verdict(session, worth, names, plan))
    _collection(page, session)
    _benchmarks(page, session, worth)
    _tasks(page, session, fitting, unfit, tried, plan)
    _neighbours(page, session, names)
    _next(page, session, left)
    _costs(page, session)
    written = page.write(session.folder)
    session.teller.leads = ""
    session.teller.say(f"done: {written}")
    return written


def _verdict(session: Session, worth: Worth | None, names: Sequence[str], plan: Plan | None) -> list[str]:
    nothing = nothing_to_learn(session.found)
    if nothing:
        return [f"Self-supervision about video is not worth it here: {nothing}."]
    words = [] if names else ["There was no time for a trial: give more minutes."] if plan and not plan.trials else []
    if worth is not None and session.labels is not None:
        return [*words, *in_words(worth, session.labels, HANDMADE)]
    return [*words, *without_labels(session.judged, names, session.unlabelled)]


def _collection(page: Page, session: Session) -> None:
    found, folder = session.found, session.folder / "pictures"
    page.heading("The videos")
    page.table(["what", "found"], facts(found, len(session.videos)))
    can, cannot = can_and_cannot(found)
    page.text("What can be learnt from them:" if can else "Nothing can be learnt from them.")
    page.items(can)
    if cannot:
        page.text("What can't, and what to mind:")
        page.items(cannot)
    page.picture(
        pictures.moments(session.videos, sample(len(session.videos), SHOWN), folder / "videos.png"),
        "Some of the videos",
    )
    if found.stills < 1:
        page.picture(
            pictures.lengths_and_motion(session.source, folder / "lengths.png"), "How long and how lively they are"
        )


def _benchmarks(page: Page, session: Session, worth: Worth | None) -> None:
    if not session.judged:
        return
    page.heading("What encoders are worth on them")
    labels = session.labels
    if labels is None or worth is None:
        page.text(f"Encoders are judged without labels: {session.unlabelled}.")
    else:
        count, classes = len(labels.videos), labels.videos.classes
        page.text(
            f"{count} labelled videos of {len(classes)} classes in {len(set(labels.units.tolist()))} groups, which",
            f"{len(labels.folds.folds)} outer folds keep whole. Probabilities are averaged over the shapes of the",
            "features; strengths of penalties and, where it says chosen, the encoder are chosen by inner folds of the",
            "training videos, in each outer fold anew. Each row of a single encoder is a fair number; the best of them",
            "is not, the chosen ones are.",
            "Encoders were trained on all videos, without any label: videos of another source may be harder.",
        )
        page.items(labels.left_out)
        page.picture(
            pictures.accuracies(
                {name: summary.top1 for name, summary in worth.summaries.items()},
                labels.chance,
                session.folder / "pictures" / "accuracy.png",
            ),
            "Accuracy of a linear classifier on frozen features, with 95 % intervals",
        )
        rows = [[name, cell(more, "+")] for name, more in worth.gains.items()]
        if rows:
            page.table([f"{LEARNT}: gain over", "accuracy [95 % interval]"], rows)
        page.table(
            ["choice", "encoders chosen (outer folds)"], [[name, said] for name, said in chosen_words(worth).items()]
        )
    page.table(
        ["encoder", "accuracy", "inner folds", *CRITERIA.values(), "s"],
        [_row(session, worth, name) for name in session.judged],
    )
    page.text(
        "Effective rank is RankMe (higher is better), deviation that of the features, of evenly spread ones (0:",
        "collapsed), alignment the distance of two clips of a video (lower is better), uniformity how evenly videos",
        "are spread (lower is better). How well they foretell transfer is said in docs/advising.md.",
    )


def _row(session: Session, worth: Worth | None, name: str) -> list[str]:
    one = session.judged[name]
    accuracy = "" if worth is None else cell(worth.summaries[name].top1)
    inner = f"{one['all']:.3f}" if "all" in one else ""
    criteria = [f"{one['criteria'][key]:.2f}" if key in one["criteria"] else "" for key in CRITERIA]
    return [name + (" (collapsed)" if one["collapsed"] else ""), accuracy, inner, *criteria, f"{one['seconds']:.0f}"]


def _tasks(
    page: Page,
    session: Session,
    fitting: Sequence[Task],
    unfit: Sequence[tuple[Task, str]],
    tried: Sequence[Task],
    plan: Plan | None,
) -> None:
    page.heading("Pretext tasks")
    store = session.store
    rows = []
    for task in fitting:
        failed, run = (
            store.known(f"failed/{task.config}"),
            store.known(f"continued/{task.config}") or store.known(f"tried/{task.config}"),
        )
        if run is not None and task in tried:
            words = f"{run['steps']} of {run['of']} steps" + (
                ", stopped before the end of its schedule" if run["steps"] < run["of"] else ""
            )
        else:
            words = f"failed: {failed.splitlines()[-1]}" if failed else "no time"
        rows.append([task.config, task.why, words, "" if run is None else f"{run['seconds']:.0f}"])
    rows += [[task.config, task.why, f"does not fit: {why}", ""] for task, why in unfit]
    page.table(["task", "what it learns", "outcome", "s"], rows)
    if plan and tried:
        page.text(
            "A trial is the beginning of a run of full length, stopped with a checkpoint. The best went on from there:",
            "its run equals one that never stopped, on the schedule of the full length.",
        )
    runs = {task.config: session.run(task) / "metrics.csv" for task in tried}
    drawn = pictures.losses(runs, session.folder / "pictures" / "losses.png") if runs else None
    if drawn:
        page.picture(drawn, "Training losses")
    for task in tried:
        (sheet,) = store.known(f"sheet/{task.config}")
        page.picture(Path(sheet), f"What {task.config} saw, and its target")


def _neighbours(page: Page, session: Session, names: Sequence[str]) -> None:
    if not names or len(session.videos) < 3:
        return
    page.heading("Nearest neighbours")
    page.text("After the first of each row come the videos with the nearest features, none of its own group.")
    best = max((latest(session.judged, name) for name in names), key=lambda name: promise(session.judged[name]))
    base = next((name for name in session.judged if name.startswith("untrained")), HANDMADE)
    for number, name in enumerate((best, base)):
        encoder = load_encoder(place_of(session, name))
        path = session.folder / "pictures" / f"neighbours{number}.png"
        page.picture(_nearest(session, encoder, path), f"Nearest neighbours by {name}")


def _nearest(session: Session, encoder: Encoder, path: Path) -> Path:
    rows = watched(session.videos)
    features = clip_features(encoder, session.videos, session.asked.machine, SIZE).mean(1)
    features = features - features.mean(0)
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-9)
    units = np.array(session.videos.units().to_pylist())[rows]
    drawn, titles = [], []
    for query in sample(len(rows), QUERIES):
        others = np.flatnonzero(units != units[query])
        near = others[np.argsort(-(unit[others] @ unit[query]), kind="stable")[:NEAREST]]
        chosen = [rows[place] for place in (query, *near.tolist())]
        drawn.append([_middle(session.videos, row) for row in chosen])
        titles.append([_title(session.videos, row) for row in chosen])
    return pictures.in_rows(drawn, titles, path)


def _middle(videos: Manifest, row: int) -> Tensor:
    return pictures.frames(videos, row, torch.tensor([videos[row].duration / 2], dtype=torch.float64))[0]


def _title(videos: Manifest, row: int) -> str:
    names = videos.column("labels")[row].as_py()
    return ", ".join(names) if names else videos[row].path.stem[:24]


def _next(page: Page, session: Session, left: dict[str, str]) -> None:
    if not left:
        return
    page.heading("What is left, and how to go on")
    lines = []
    if "encoder" in left:
        page.text(f"encoder/ holds the encoder of {left['encoder']}.")
        lines.append(
            f"avssl features folder --data.root={session.asked.videos} --run={session.folder / 'encoder'} -o features/"
        )
    if "classifier" in left:
        page.text(
            f"classifier/ labels videos by {left['classifier']}, which does best by inner folds of all labels. The",
            f"accuracy on its card is of that encoder alone; that of choosing it is above, under {BEST}.",
        )
        lines.append(f"avssl predict {session.folder / 'classifier'} {session.asked.videos} -o predictions.csv")
    page.code("\n".join(lines))


def _costs(page: Page, session: Session) -> None:
    page.heading("What it cost")
    store = session.store
    running = {
        path.stem: store.known(f"running/{path.stem}")["seconds"]
        for path in sorted((session.folder / "stages/running").glob("*.json"))
    }
    judging = sum(one["seconds"] for one in session.judged.values())
    spent = session.clock.spent
    seconds = {f"training {name}": each for name, each in running.items()} | {"judging": judging}
    seconds["everything else"] = max(0.0, spent - sum(seconds.values()))
    page.text(f"{spent / 60:.1f} of {session.clock.budget / 60:g} minutes, interruptions not counted.")
    page.picture(
        pictures.times_spent(seconds, session.folder / "pictures" / "times.png"), "What the minutes were spent on"
    )
