"""People on the dataset card: counts, plots, and examples of tracks with the curves of their synchrony."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from avssl.avsync.estimates import heard_of
from avssl.avsync.packing_people import People
from avssl.avsync.pictures import jpeg
from avssl.avsync.reasons import REASONS, REMEDIES
from avssl.avsync.store import Record, Store
from avssl.media import MediaError, open_video

EXAMPLES = 3  # tracks of the surest, and of the least sure
MOMENTS, SIDE = 6, 96  # pictures of each, and the pixels of their sides
SPEAKS, SEEN, UNFIT = (60, 200, 90), (240, 190, 60), (230, 70, 60)  # colours of boxes
VOICES = {
    "on_screen": "one of the faces seen speaks",
    "off_screen": "no face that is seen speaks: a voice-over, or another voice over the picture",
    "undecided": "several faces, of which none is surer by the margin",
}
Rows = Callable[[Sequence[str], Sequence[Sequence[Any]]], str]
Plot = Callable[[str, str, Callable[[Axes], None]], str]


def boxes_in(people: People, clips: Collection[str]) -> dict[str, list[Record]]:
    """Return the boxes of some clips' faces, each with the colour that says what is known of its face."""
    about = {(face["clip"], face["track"]): face for face in people.faces}
    found: dict[str, list[Record]] = {}
    for box in people.boxes:
        if box["clip"] in clips:
            face = about.get((box["clip"], box["track"]), {"fault": "short", "speaks": None})
            colour = SPEAKS if face["speaks"] else UNFIT if face["fault"] else SEEN
            found.setdefault(box["clip"], []).append(box | {"colour": colour})
    return found


def draw(frames: Tensor, numbers: Tensor, boxes: Sequence[Record], scale: float) -> Tensor:
    """Draw boxes into frames ``[M, 3, H, W]``, which have ``[M]`` numbers in their clip and are ``scale`` as large."""
    for frame, number in zip(frames, numbers.long().tolist(), strict=True):
        for box in boxes:
            if box["frame"] == number:
                left, top = (max(0, round(scale * box[name])) for name in ("left", "top"))
                right, bottom = (round(scale * (box[a] + box[b])) for a, b in (("left", "width"), ("top", "height")))
                colour = torch.tensor(box["colour"], dtype=torch.uint8)[:, None, None]
                for rows, columns in (
                    (slice(top, top + 2), slice(left, right)),
                    (slice(max(0, bottom - 2), bottom), slice(left, right)),
                    (slice(top, bottom), slice(left, left + 2)),
                    (slice(top, bottom), slice(max(0, right - 2), right)),
                ):
                    frame[:, rows, columns] = colour
                for name in ("right_mouth", "left_mouth"):
                    y, x = (round(scale * box[f"{name}_{axis}"]) for axis in "yx")
                    frame[:, max(0, y - 1) : max(0, y + 1), max(0, x - 1) : max(0, x + 1)] = colour
    return frames


def people_parts(out: Path, clips: Sequence[Record], people: People, rows: Rows, plot: Plot) -> list[str]:
    """Return what the card says about people and speech; nothing if neither was looked for."""
    parts = []
    spoken = [clip["speech"] for clip in clips if clip["speech"] is not None]
    looked = [clip for clip in clips if clip["faces"] is not None]
    plots = []
    if spoken:
        plots.append(plot("speech", "share of a clip", _histogram(spoken)))
    if looked:
        counts = Counter(clip["faces"] for clip in looked)
        parts.append(rows(["faces seen", "clips"], sorted(counts.items())))
        faults = Counter(face["fault"] for face in people.faces if face["fault"])
        faults += Counter(clip["people_fault"] for clip in looked if clip["people_fault"] in ("no_face", "off_screen"))
        lines = [(name, n, REASONS[name], REMEDIES.get(name, "")) for name, n in faults.most_common()]
        parts.append(
            f"<p>Not fit, whether or not that drops them:</p>{rows(['reason', 'n', 'meaning', 'remedy'], lines)}"
        )
        for name, label in (("side", "pixels"), ("turned", "degrees to a side"), ("blurred", "0 to 1")):
            plots.append(plot(f"faces: {name}", label, _histogram([face[name] for face in people.faces])))
    voices = Counter(clip["voice"] for clip in looked if clip["voice"])
    if voices:
        parts.append(rows(["voice", "clips", "meaning"], [(name, n, VOICES[name]) for name, n in voices.most_common()]))
        known = [clip["speaker_margin"] for clip in looked if clip["speaker_margin"] is not None]
        plots.append(plot("several faces: lead of the surest", "share of its confidence", _histogram(known)))
    if not parts and not plots:
        return []
    key = "".join(
        f'<span style="color:rgb{colour}">&#9632;</span> {words} '
        for colour, words in ((SPEAKS, "speaks"), (SEEN, "seen"), (UNFIT, "not fit, or too short"))
    )
    found = ["<h2>People</h2>", *parts, f'<div class="plots">{"".join(plots)}</div>']
    return [*found, f"<p>Boxes on the pictures: {key}</p>" if looked else "", *_examples(out, people, plot)]


def _histogram(values: Sequence[float]) -> Callable[[Axes], None]:
    return lambda axes: axes.hist(values, 40, color="#27618c") and None


def _examples(out: Path, people: People, plot: Plot) -> list[str]:
    """Return the tracks of kept clips whose synchrony is surest and least sure, with their curves."""
    scored = [face for face in people.faces if face["clip"] and face["confidence"] is not None]
    scored.sort(key=lambda face: (-face["confidence"], face["clip"], face["track"]))
    best, worst = scored[:EXAMPLES], scored[EXAMPLES:][-EXAMPLES:]
    parts = []
    for title, some in (("Surest tracks", best), ("Least sure tracks", worst)):
        if some:
            parts.append(f"<h3>{title}</h3>")
            parts += [_example(out, people, face, plot) for face in some]
    return parts


def _example(out: Path, people: People, face: Record, plot: Plot) -> str:
    mine = [box for box in people.boxes if (box["clip"], box["track"]) == (face["clip"], face["track"])]
    others = [other for other in people.faces if other["clip"] == face["clip"]]
    record = Store(out / ".work").find("scores", face["heard"]) or {"heard": []}
    curves = [(other, heard_of(record["heard"][other["place"]])) for other in others if other["place"] is not None]

    def lines(axes: Axes) -> None:
        for other, heard in curves:
            own = other["track"] == face["track"]
            axes.plot(*heard.trace, color="#27618c" if own else "#bbb", zorder=2 if own else 1)
        axes.axvline(face["offset"], color="#b0543c", lw=0.7)

    words = f"{face['source']} from {face['start']:.2f} s, track {face['track']}: offset {face['offset']:+.3f} s, "
    words += f"confidence {face['confidence']:.3g}" + (", speaks" if face["speaks"] else "")
    curve = plot("distance of sound and face; others grey", "seconds, positive: sound is late", lines)
    strip = _strip(out / face["clip"], mine)
    return (
        f'<figure>{strip}<br><span class="curve">{curve}</span><figcaption>{html.escape(words)}</figcaption></figure>'
    )


def _strip(path: Path, boxes: Sequence[Record]) -> str:
    """Return pictures of a face through its clip, as a tag."""
    chosen = [boxes[place] for place in np.linspace(0, len(boxes) - 1, MOMENTS).round().astype(int)]
    try:
        with open_video(path, "pyav") as reader:
            times = torch.tensor([box["frame"] / reader.info.fps for box in chosen], dtype=torch.float64)
            frames = reader.frames(times)  # [M, 3, H, W]
    except MediaError as error:
        return html.escape(str(error))
    from avssl.avsync.framing import warp  # imports OpenCV, which cards without faces don't need

    parts = []
    for frame, box in zip(frames.movedim(1, 3).contiguous().numpy(), chosen, strict=True):
        scale = SIDE / (1.4 * max(box["width"], box["height"]))
        x, y = box["left"] + box["width"] / 2, box["top"] + box["height"] / 2
        place = np.array([[scale, 0, SIDE / 2 - scale * x], [0, scale, SIDE / 2 - scale * y]])
        parts.append(warp(frame, place, SIDE))
    return jpeg(torch.from_numpy(np.concatenate(parts, axis=1)).movedim(2, 0), path.name)
