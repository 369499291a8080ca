"""Estimates on the clips of a source: of each clip's picture, or of each face in it, and so of who speaks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from avssl.avsync.clips import Span
from avssl.avsync.decide import load_calibration
from avssl.avsync.options import Options
from avssl.avsync.people import Heard, Voice, unheard, who_speaks
from avssl.avsync.reasons import Rejection
from avssl.avsync.recording import VERSIONS, Candidate, Recording
from avssl.avsync.score import RunScorer, Score, Scorer, framing_shown
from avssl.avsync.store import Record, key_of
from avssl.avsync.together import Trace, traced


@dataclass
class Estimates:
    """Estimates on the clips of a source.

    Attributes:
        scores: of each clip that was scored; of the face that speaks, or else the surest, where faces are scored.
        traces: the curves of these estimates, if a network made them.
        heard: of each face of those clips.
        voices: who speaks in them.
        rejections: why a clip doesn't show that, if this drops it.
        faults: why it doesn't, whether or not that drops it.
        places: of each clip's faces in what the store keeps of ``heard``.
        key: under which it does; empty if faces aren't scored.
    """

    scores: dict[Span, Score]
    traces: dict[Span, Trace] = field(default_factory=dict)
    heard: dict[Span, list[Heard]] = field(default_factory=dict)
    voices: dict[Span, Voice] = field(default_factory=dict)
    rejections: dict[Span, Rejection] = field(default_factory=dict)
    faults: dict[Span, Rejection] = field(default_factory=dict)
    places: dict[tuple[Span, int], int] = field(default_factory=dict)
    key: str = ""


def estimate(scorer: Scorer, recording: Recording, clips: Mapping[Span, Candidate], options: Options) -> Estimates:
    """Score the clips that are worth it: those that aren't rejected, and have speech if that is looked for."""
    wanted = [span for span, clip in clips.items() if clip.rejection is None and clip.silence is None]
    if isinstance(scorer, RunScorer) and framing_shown(scorer) is not None:
        return _of_faces(scorer, recording, {span: clips[span] for span in wanted}, options)

    def scored() -> Record:
        return {"traced": [traced(scorer, recording.scored(span)) for span in wanted]}

    key = key_of(recording.seen, VERSIONS["scores"], wanted, scorer.name(), recording.shown)
    made = Estimates({})
    for span, (score, trace) in zip(wanted, recording.store.record("scores", key, scored)["traced"], strict=True):
        made.scores[span], made.traces[span] = Score(*score), Trace(*trace)
    return made


def _of_faces(scorer: RunScorer, recording: Recording, clips: Mapping[Span, Candidate], options: Options) -> Estimates:
    pairs = [(span, face.track) for span, clip in clips.items() for face in clip.seen or ()]

    def scored() -> Record:
        return {"heard": [_hear(scorer, recording, *pair) for pair in pairs]}

    key = key_of(recording.seen, recording.tracked, VERSIONS["scores"], pairs, scorer.name())
    made = Estimates({}, places={pair: place for place, pair in enumerate(pairs)}, key=key)
    for (span, _), record in zip(pairs, recording.store.record("scores", key, scored)["heard"], strict=True):
        made.heard.setdefault(span, []).append(heard_of(record))
    measured = options.sync.calibration
    probable = None if measured is None else load_calibration(measured).probability
    for span, heard in made.heard.items():
        voice = made.voices[span] = who_speaks(heard, options.faces, probable)
        surest = max(heard, key=lambda face: (face.track == voice.speaker, face.score.confidence))
        made.scores[span], made.traces[span] = surest.score, surest.trace
        fault = unheard(voice, clips[span].seen or [], options.faces)
        if fault is not None:
            made.faults[span] = fault
            if options.faces.mode == "drop":
                made.rejections[span] = fault
    return made


def _hear(scorer: RunScorer, recording: Recording, span: Span, track: int) -> list[object]:
    return [track, *traced(scorer, recording.scored(span, track=track))]


def heard_of(record: list[object]) -> Heard:
    """Return the synchrony of a face as it is kept in the store."""
    track, score, trace = record
    return Heard(track, Score(*score), Trace(*trace))  # type: ignore
