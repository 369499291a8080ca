"""People of a dataset: their tables, and a clip of each with manifests of its own."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from avssl.avsync.options import Options
from avssl.avsync.placing import link_all, write_manifests
from avssl.avsync.sources import Source
from avssl.avsync.store import Record, Store
from avssl.avsync.tables import FACES, TRACKS, write_table
from avssl.avsync.tracks import boxes_of, load_tracks
from avssl.catalog.measuring import thawed
from avssl.media.regions import note_region

CROPS = "crops"  # folder of the clips of single people, a dataset by itself


@dataclass
class People:
    """Rows and files about the people of a dataset."""

    boxes: list[Record] = field(default_factory=list)  # rows of `TRACKS`
    faces: list[Record] = field(default_factory=list)  # rows of `FACES`; "heard" is the store's key of their curves
    crops: list[tuple[str, Record]] = field(default_factory=list)  # split, and row of the manifest
    places: dict[str, Path] = field(default_factory=dict)  # where each crop lies in the store

    def add(self, entry: Record, clip: Record, outcome: Record, store: Store, source: Source) -> None:
        """Add the people of a clip.

        Args:
            entry: its row in the table of clips.
            clip: its record, see :func:`avssl.avsync.source.process`.
            outcome: its source's.
            store: the files of both.
            source: the source.
        """
        path: str | None = entry["clip"]
        crops: dict[int, str] = {}
        if path is not None:
            if outcome.get("tracks"):
                own = load_tracks(store.path("tracks", outcome["tracks"], ".npz"))
                self.boxes += boxes_of(path, own, clip["start"], clip["stop"])
            for crop in clip.get("crops", ()):
                name = f"{path.removeprefix('clips/').removesuffix('.mp4')}-{crop['track']:02d}.mp4"
                crops[crop["track"]] = f"{CROPS}/{name}"
                self.places[f"{CROPS}/{name}"] = store.path("crops", crop["key"], ".mp4")
                row = {**thawed(crop["row"]), "root": ".", "path": name}
                self.crops.append((entry["split"], row | {"label": source.label, "group": source.group}))
        for face in clip.get("people", ()):
            about = {"clip": path, "source": entry["source"], "start": entry["start"], "crop": crops.get(face["track"])}
            self.faces.append(face | about | {"heard": outcome.get("heard"), "split": entry["split"]})

    def write(self, out: Path, options: Options) -> None:
        """Write the tables, and the clips of single people, or remove those of an earlier build."""
        if options.faces.model is None:
            for name in ("tracks", "faces"):
                (out / f"{name}.parquet").unlink(missing_ok=True)
        else:
            write_table(self.boxes, TRACKS, out / "tracks.parquet")
            write_table(self.faces, FACES, out / "faces.parquet")
        if options.crops.part is None:
            shutil.rmtree(out / CROPS, ignore_errors=True)
        else:
            (out / CROPS).mkdir(exist_ok=True)
            link_all(self.places, out, CROPS)
            write_manifests(self.crops, [], out / CROPS)
            from avssl.avsync.framing import framing_of  # imports OpenCV

            note_region(out / CROPS, framing_of(options.crops).shown())
