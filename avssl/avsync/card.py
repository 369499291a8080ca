"""The dataset card: one HTML file with all pictures inside it."""

from __future__ import annotations

import base64
import html
import io
import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from avssl.avsync.card_people import boxes_in, draw, people_parts
from avssl.avsync.packing_people import People
from avssl.avsync.pictures import jpeg
from avssl.avsync.reasons import REASONS, REMEDIES
from avssl.avsync.store import Record
from avssl.media import MediaError, open_video
from avssl.runtime.files import write_text

SHOWN = 24  # clips on the contact sheet
SIDE = 96  # pixels of the shorter side of a picture on it
MOMENTS = 4  # pictures per clip
WAVE = 40  # height of its waveform in pixels
EXAMPLES = 20  # sources named per reason
COLOUR, DULL = "#27618c", "#b0543c"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
img { max-width: 100% } h2 { margin-top: 2.2rem } table { border-collapse: collapse }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top }
pre { background: #f4f4f4; padding: .8rem; overflow: auto } .plots img { width: 49% }
figure { display: inline-block; margin: .4rem }
figcaption { font-size: 12px; max-width: 24rem; overflow-wrap: anywhere }
"""


def write_card(out: Path, sources: Sequence[Record], clips: Sequence[Record], summary: Record, people: People) -> None:
    """Write ``card.html`` from the rows of the tables and the content of ``dataset.json``; the clips are in place."""
    kept = [clip for clip in clips if clip["clip"]]
    hours = summary["seconds"] / 3600
    parts = [
        f"<h1>{html.escape(out.name)}</h1>",
        f"<p>{len(kept)} clips ({hours:.3g} hours) of {sum(s['status'] == 'kept' for s in sources)} sources; "
        f"{sum(s['status'] != 'kept' for s in sources)} sources rejected. Offsets are in seconds, positive if the "
        f"sound is late relative to the picture. Hash <code>{summary['digest']}</code>.</p>",
        _rows(["split", "clips", "sources"], _by_split(kept)),
        "<h2>Sources: kept, and rejected by reason</h2>",
        _reasons(sources),
        "<h2>Clips dropped, by reason</h2>",
        _rows(
            ["reason", "clips", "meaning", "remedy"],
            [(reason, n, REASONS[reason], REMEDIES.get(reason, "")) for reason, n in summary["dropped"].most_common()],
        ),
        "<h2>Time</h2>",
        *_times(sources, kept),
        *people_parts(out, clips, people, _rows, _plot),
        '<h2>Plots</h2><div class="plots">',
        *_plots(sources, clips),
        "</div><h2>Contact sheet</h2>",
        *_contacts(out, kept, people),
        "<h2>Licences</h2><p>The clips are copies of their sources and stay under the sources' terms.</p>",
        f"<h2>Options</h2><pre>{html.escape(json.dumps(summary['options'], indent=1))}</pre>",
    ]
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(out.name)}</title>'
    write_text(out / "card.html", f"{page}<style>{STYLE}</style><body>{''.join(parts)}</body></html>\n")


def _rows(heading: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heading)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _by_split(kept: Sequence[Record]) -> list[tuple[str, int, int]]:
    counts = Counter(clip["split"] for clip in kept)
    return [(name, n, len({c["source"] for c in kept if c["split"] == name})) for name, n in sorted(counts.items())]


def _reasons(sources: Sequence[Record]) -> str:
    """Return a table of the reasons, each with its meaning and, folded, some of its sources."""
    parts = []
    for reason, count in Counter(source["reason"] for source in sources).most_common():
        if reason is None:
            parts.append(f"<tr><td>kept</td><td>{count}</td><td></td><td></td></tr>")
            continue
        named = [source for source in sources if source["reason"] == reason][:EXAMPLES]
        lines = "".join(f"<br>{html.escape(source['source'])}: {html.escape(source['why'])}" for source in named)
        meaning = f"<details><summary>{html.escape(REASONS[reason])}</summary>{lines}</details>"
        remedy = html.escape(REMEDIES.get(reason, ""))
        parts.append(f"<tr><td>{reason}</td><td>{count}</td><td>{meaning}</td><td>{remedy}</td></tr>")
    heading = "<tr><th>reason</th><th>sources</th><th>meaning and examples</th><th>remedy</th></tr>"
    return f"<table>{heading}{''.join(parts)}</table>"


def _times(sources: Sequence[Record], kept: Sequence[Record]) -> list[str]:
    """Return how far sound and picture may be from where they are in the sources, and what was decided on offsets."""
    known = [source for source in sources if source["status"] == "kept"]
    unsaid = [source for source in known if source["sync_grade"] == "unsignalled"]
    parts = []
    moved = [1000 * clip["shown_late_most"] for clip in kept if clip["shown_late_most"] is not None]
    mean = [1000 * clip["shown_late"] for clip in kept if clip["shown_late"] is not None]
    if moved:
        parts.append(
            f"<p>Pictures: converted to a constant rate, frames are shown up to {max(moved):.1f} ms earlier or later"
            f" than in the source, {sum(mean) / len(mean):+.1f} ms on average (columns <code>shown_late</code>); in"
            f" {sum(late > 1 for late in moved)} of {len(moved)} clips by more than 1 ms."
            " <code>--normal.fps=source</code> keeps each source's own rate and times.</p>"
        )
    if unsaid:
        bounds = [source["delay_bound"] for source in unsaid if source["delay_bound"] is not None]
        most = f"up to {1000 * max(bounds):.0f} ms" if bounds else "by an unknown time"
        parts.append(
            f"<p>Sound: {len(unsaid)} of {len(known)} kept sources don't say how much their encoder delayed the sound;"
            f" it may be late {most} (column <code>delay_bound</code>), all others are exact to a millisecond.</p>"
        )
    decisions = Counter(clip["decision"] for clip in kept if clip["decision"])
    meanings = {
        "scored": "estimated only",
        "kept": "in sync, by a trusted estimate",
        "in_sync": "left as it is: in sync, by estimates that agree",
        "moved": "sound moved, by what the source's clips agree on",
        "doubtful": "left as it is: too few estimates are sure",
        "disagree": "left as it is: the source's clips disagree",
        "no_speech": "not estimated: nobody speaks",
        "no_face": "not estimated: no face is seen",
    }
    rows = [(name, n, meanings[name]) for name, n in decisions.most_common()]
    return [*parts, _rows(["decision", "clips", "meaning"], rows)]


def _plots(sources: Sequence[Record], clips: Sequence[Record]) -> list[str]:
    kept = [clip for clip in clips if clip["clip"]]
    reasons = Counter(source["reason"] or "kept" for source in sources)
    known = [source for source in sources if source.get("duration") is not None]
    scored = [clip for clip in clips if clip["offset"] is not None]

    def by_reason(axes: Axes) -> None:
        names = [name for name, _ in reasons.most_common()][::-1]
        bars = axes.barh(names, [reasons[n] for n in names], color=[COLOUR if n == "kept" else DULL for n in names])
        axes.bar_label(bars)

    def scatter(axes: Axes) -> None:
        for dropped, colour in ((False, COLOUR), (True, DULL)):
            some = [clip for clip in scored if (clip["clip"] is None) == dropped]
            x, y = [clip["offset"] for clip in some], [clip["confidence"] for clip in some]
            axes.scatter(x, y, s=6, color=colour, label="dropped" if dropped else "kept", rasterized=True)
        axes.legend(frameon=False)

    def bars(counts: Counter[str]) -> Callable[[Axes], None]:
        return lambda axes: axes.bar_label(axes.bar(list(counts), list(counts.values()), color=COLOUR))  # type: ignore

    def histogram(values: Sequence[float]) -> Callable[[Axes], None]:
        edge = 0.02 * (max(values) - min(values)) + 1e-3 if values else 0.0
        span = (min(values) - edge, max(values) + edge) if values else None
        return lambda axes: axes.hist(values, 40, span, color=COLOUR) and None  # type: ignore

    codecs = Counter(f"{source['codec']}\n{source['audio_codec']}" for source in known)
    rates = Counter(f"{source['fps']:.4g}{' vfr' if source['vfr'] else ''}" for source in known)
    return [
        _plot("sources by outcome", "sources", by_reason),
        _plot("duration of sources", "seconds", histogram([source["duration"] for source in known])),
        _plot("duration of clips", "seconds", histogram([clip["stop"] - clip["start"] for clip in kept])),
        _plot("frame rate of sources", "frames per second", bars(Counter(dict(rates.most_common(8))))),
        _plot("codecs of sources", "picture, sound", bars(Counter(dict(codecs.most_common(6))))),
        _plot("estimated offset", "seconds, positive: sound is late", histogram([clip["offset"] for clip in scored])),
        _plot("confidence", "confidence", histogram([clip["confidence"] for clip in scored])),
        _plot("offset and confidence", "seconds, positive: sound is late", scatter),
    ]


def _plot(title: str, label: str, draw: Callable[[Axes], None]) -> str:
    figure = Figure(figsize=(5.2, 3.2))
    axes = figure.add_axes((0.27, 0.17, 0.7, 0.73))  # a layout engine would take longer than the rest of the card
    draw(axes)
    lines = max((text.get_text().count("\n") for text in axes.get_xticklabels()), default=0)
    if lines:  # room for labels of several lines, and the axis's own below them
        axes.set_position((0.14, 0.17 + 0.07 * lines, 0.83, 0.73 - 0.07 * lines))
        axes.tick_params(axis="x", labelsize=7)
    axes.set_title(title)
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return f'<img alt="{html.escape(title)}" src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _contacts(out: Path, kept: Sequence[Record], people: People) -> list[str]:
    """Return evenly chosen clips: pictures, and the waveform below on the same time axis."""
    chosen = [kept[place] for place in np.linspace(0, len(kept) - 1, min(SHOWN, len(kept))).astype(int)]
    parts, boxes = [], boxes_in(people, {clip["clip"] for clip in chosen})
    for clip in chosen:
        words = f"{clip['source']} from {clip['start']:.2f} s ({clip['split']}): "
        if clip["offset"] is not None:
            words += f"offset {clip['offset']:+.3f} s, confidence {clip['confidence']:.2f}"
        if clip["shift"]:
            words += f", sound moved by {-clip['shift']:+.3f} s"
        words = f"<figcaption>{html.escape(words)}</figcaption>"
        parts.append(f"<figure>{_contact(out / clip['clip'], boxes.get(clip['clip'], ()))}{words}</figure>")
    return parts


def _contact(path: Path, boxes: Sequence[Record]) -> str:
    try:
        with open_video(path, "pyav") as reader:
            info = reader.info
            scale = SIDE / min(info.size)
            height, width = (max(2, round(side * scale)) for side in info.size)
            times = (torch.arange(MOMENTS, dtype=torch.float64) + 0.5) / MOMENTS * info.duration
            frames = draw(reader.frames(times, (height, width)), times * info.fps, boxes, height / info.size[0])
            sound = reader.audio(0.0, info.duration, 4000).samples
    except MediaError as error:
        return html.escape(str(error))
    sheet = torch.cat([torch.cat(list(frames), dim=2), _wave(sound, MOMENTS * width)], dim=1)  # [3, H + WAVE, M * W]
    return jpeg(sheet, path.name)


def _wave(sound: Tensor, width: int) -> Tensor:
    """Return ``[3, WAVE, width]``, the largest absolute sample of each column, light on dark."""
    edges = torch.linspace(0, len(sound), width + 1).long()
    peaks = torch.stack([sound[a : max(b, a + 1)].abs().amax() for a, b in itertools.pairwise(edges.tolist())])
    away = (torch.arange(WAVE) - (WAVE - 1) / 2).abs() / (WAVE / 2)  # [WAVE] distance from the middle line
    return (away[:, None] <= peaks.clamp(min=0.02)).byte().mul(200).add(30).expand(3, WAVE, width)
