"""What was found of a collection, in words: the facts, what can be learnt, and what can't."""

from __future__ import annotations

from avssl.applications.advise.survey import Collection

FEW = 30  # videos, below which what is learnt is about these
LONG = 1.2  # seconds that half of the videos last, above which there is an order of clips
MOVING = 0.3  # share of videos whose camera moves, above which it matters
SAME = 0.9  # correlation of two videos' pictures, above which all look alike


def facts(found: Collection, used: int) -> list[list[str]]:
    """Return what was found, in rows of two; ``used`` is the number of videos that are used."""
    shortest, quarter, median, longest = found.seconds
    some = f"; {used} of them are used here" if used < found.videos else ""
    grades = ", ".join(f"{grade} ({count})" for grade, count in found.grades.items())
    return [
        ["videos", f"{found.videos} can be used, {found.refused} can't{some}"],
        ["duration", f"{found.hours:.2g} hours; {shortest:.1f} to {longest:.1f} s, half above {median:.1f} s"],
        ["", f"three quarters above {quarter:.1f} s"],
        ["motion", f"{found.motion:.4f}: grey difference per eighth of a second, of 1; none in {found.static:.0%}"],
        ["sound", f"{found.sound:.0%} with sound, {found.silent:.0%} with a silent track; alignment {grades}"],
        ["sound in its place", _share(found.in_sync, "in {} (within 0.1 s)", "not measured: give --sync RUN")],
        ["camera", _share(found.camera, "moves in {}", "not measured: too short")],
        ["faces", _share(found.faces, "in {}", "not looked for: give --faces MODEL")],
        ["alike", f"pictures of two videos correlate by {found.alike:.2f}"],
        ["twice", f"{found.twins} pairs of near duplicates, {found.identical} copies"],
        ["groups", str(found.groups) if found.groups else "none named: give --group"],
    ]


def _share(share: float | None, words: str, without: str) -> str:
    return without if share is None else words.format(f"{share:.0%}")


def can_and_cannot(found: Collection) -> tuple[list[str], list[str]]:
    """Say what can be learnt from a collection, and what can't or has to be minded."""
    if found.stills > 0.5:
        words = "Most of these are still pictures: nothing about time can be learnt."
        return [], [f"{words} avssl train rotnet, jigsaw and their like learn from frames."]
    can, cannot = _pictures(found)
    if found.black > 0.5:
        can, cannot = [], [f"{found.black:.0%} of the videos are black: nothing can be learnt from these."]
    if found.videos == 1:
        cannot += ["This is one video: there is nothing to tell it from, and nothing is left to measure on."]
        cannot += ["Cut it into parts (avssl index --labels LIST, with start and stop), or add videos."]
    elif found.videos < FEW:
        cannot.append(f"{found.videos} videos are few: what is learnt is mostly about these.")
    if found.sound > 0.5:
        can.append(f"What belongs to which sound: {found.sound:.0%} of the videos have sound.")
    else:
        cannot.append(f"{found.sound:.0%} of the videos have sound: nothing about sound can be learnt.")
    if found.in_sync is not None and found.in_sync < 0.5:
        cannot.append("The sound of most videos is not where the synchroniser expects it: tasks of synchrony mislead.")
    if found.identical:
        cannot.append(f"{found.identical} files are copies of others: remove them, or give copies one group.")
    if found.twins:
        words = "videos of one source belong into one group (--group)"
        cannot.append(f"{found.twins} pairs of videos are near duplicates: {words}.")
    return can, cannot


def _pictures(found: Collection) -> tuple[list[str], list[str]]:
    """Say what can be learnt from motion and pictures, and what can't."""
    can: list[str] = []
    cannot: list[str] = []
    if found.black:
        cannot.append(f"{found.black:.0%} of the videos are black: nothing can be learnt from these.")
    if found.static < 0.5:
        can.append(f"How things move: {1 - found.static:.0%} of the videos have motion.")
    if found.static > 0.1:
        cannot.append(f"In {found.static:.0%} of the videos nothing moves: these say nothing about motion.")
    if found.seconds[2] >= LONG:
        can.append(f"What follows what: half of the videos last {found.seconds[2]:.1f} s or more.")
    else:
        words = "too short for the order of clips, or for several speeds"
        cannot.append(f"Half of the videos are shorter than {found.seconds[2]:.1f} s: {words}.")
    if found.camera is not None and found.camera > MOVING:
        words = "what changes in the picture is not only what moves in the scene"
        cannot.append(f"The camera moves in about {found.camera:.0%} of the videos: {words}.")
    elif found.camera is not None:
        can.append(
            f"The camera stands still in about {1 - found.camera:.0%} of the videos: what changes is what moves."
        )
    if found.faces:
        can.append(
            f"Faces are in about {found.faces:.0%} of the videos: lips can be compared with sound (avssl build)."
        )
    if found.alike > SAME and found.videos > 1:
        cannot.append("All videos look alike: only what moves can tell them apart.")
    return can, cannot
