"""Tables of a dataset: their columns, and writing them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avssl.avsync.store import Record
from avssl.avsync.tracks import POINTS
from avssl.runtime.files import write_atomically

CLIPS = pa.schema(
    [
        ("clip", pa.string()),  # path in the dataset; null if it was dropped
        ("source", pa.string()),
        ("start", pa.float64()),  # second of the source at which it begins
        ("stop", pa.float64()),
        ("split", pa.string()),
        ("offset", pa.float64()),  # estimate before any shift, seconds; positive: sound is late
        ("confidence", pa.float64()),
        ("probability", pa.float64()),  # that the estimate is within 40 ms of the truth; null without a calibration
        ("decision", pa.string()),  # see `avssl.avsync.decide.Verdict`
        ("faces", pa.int64()),  # number of faces seen in it; null if none were looked for
        ("face_side", pa.float64()),  # side of the largest, in pixels of the normalised picture
        ("speech", pa.float64()),  # share of it that is speech; null if that wasn't looked for
        ("voice", pa.string()),  # of who is heard: on_screen, off_screen or undecided; null if faces weren't scored
        ("speaker_track", pa.int64()),  # track of the face that speaks
        ("speaker_margin", pa.float64()),  # share by which the next face's confidence is lower than the surest one's
        ("people_fault", pa.string()),  # reason for which --faces.mode=drop drops it
        ("shift", pa.float64()),  # seconds by which its sound was moved earlier
        ("shown_late", pa.float64()),  # mean seconds by which its frames are shown later than in the source
        ("shown_late_most", pa.float64()),  # the largest such difference, either way
        ("reason", pa.string()),  # why it was dropped
        ("why", pa.string()),
    ]
)
SOURCES = pa.schema(  # status is "kept" or "rejected"; content: `identity_of`
    [(name, pa.string()) for name in ("source", "status", "reason", "why", "content", "label", "group", "split")]
    + [("clips", pa.int64()), ("duration", pa.float64()), ("fps", pa.float64()), ("vfr", pa.bool_())]
    + [("height", pa.int32()), ("width", pa.int32()), ("codec", pa.string()), ("container", pa.string())]
    + [("audio_rate", pa.int32()), ("audio_codec", pa.string()), ("sync_grade", pa.string())]
    + [("bitrate", pa.float64())]  # thousands of bits per second, sound included; null for a segment
    # Seconds: the most by which the sound may be late unsaid (null: unknown); by which it was moved earlier; and by
    # which frames are shown later than in the source, on average and at most, either way.
    + [(name, pa.float64()) for name in ("delay_bound", "delay", "shown_late", "shown_late_most")]
)
TRACKS = pa.schema(  # of kept clips: where each face is, in pixels of the clip's picture
    [("clip", pa.string()), ("track", pa.int64()), ("frame", pa.int64()), ("found", pa.bool_())]
    + [(name, pa.float32()) for name in ("left", "top", "width", "height")]
    + [(f"{point}_{axis}", pa.float32()) for point in POINTS for axis in "xy"]
)
FACES = pa.schema(  # a row per face of a clip
    [
        ("clip", pa.string()),  # path in the dataset; null if it was dropped
        ("source", pa.string()),
        ("start", pa.float64()),  # second of the source at which the clip begins
        ("track", pa.int64()),  # counted over the source
        ("crop", pa.string()),  # path in the dataset of the clip of this face alone; null if there is none
        ("side", pa.float64()),  # pixels of the normalised picture, median
        ("turned", pa.float64()),  # degrees to a side, roughly, median
        ("blurred", pa.float64()),  # 0 to 1, median
        ("fault", pa.string()),  # reason for which it isn't fit
        ("offset", pa.float64()),  # of the sound from this face, seconds; null if it wasn't scored
        ("confidence", pa.float64()),
        ("speaks", pa.bool_()),  # null if that isn't known
    ]
)
_OWN = ("clip", "source", "start", "stop", "split")
FIELDS = tuple(name for name in CLIPS.names if name not in _OWN)  # what a clip's record brings along


def write_table(entries: Sequence[Record], schema: pa.Schema, path: Path) -> None:
    """Write records as rows; what a record lacks is null."""
    table = pa.table([pa.array([entry.get(f.name) for entry in entries], f.type) for f in schema], schema=schema)
    write_atomically(path, lambda file: pq.write_table(table, file, compression="zstd"))


def with_text(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    """Return a table's columns with more of text."""
    for name in columns:
        schema = schema.append(pa.field(name, pa.string()))
    return schema
