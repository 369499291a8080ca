"""What an advice has found so far, stage by stage, and the time that it has taken: both survive a kill."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from avssl.runtime.files import write_text

SETTINGS, CLOCK, STAGES = "settings.json", "clock.json", "stages"
EVERY = 1.0  # seconds between two notes of the time spent


class Store:
    """The stages of an advice in its folder, each of which is made once.

    Args:
        folder: created if needed.
        settings: what the advice depends on, JSON values.

    Raises:
        ValueError: if the folder holds an advice with other settings, or other files.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder = folder
        path = folder / SETTINGS
        if path.exists():
            before = json.loads(path.read_text())
            if changed := [name for name in {**before, **settings} if before.get(name) != settings.get(name)]:
                lines = "".join(f"\n  {name}: {before.get(name)} before, {settings.get(name)} now" for name in changed)
                raise ValueError(
                    f"{folder} holds an advice with other settings:{lines}\nName another folder with -o, or delete it"
                )
        elif folder.is_dir() and any(entry.name != ".lock" for entry in folder.iterdir()):
            raise ValueError(f"{folder} holds other files: name another folder with -o")
        else:
            write_text(path, json.dumps(settings, indent=1))

    def known(self, name: str) -> Any:
        """Return what a stage has found, or None if it isn't done."""
        path = self.folder / STAGES / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def keep(self, name: str, found: Any) -> Any:
        """Keep what a stage has found, JSON values, and return it as it will be read."""
        write_text(self.folder / STAGES / f"{name}.json", json.dumps(found, allow_nan=False))
        return self.known(name)

    def stage(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what a stage has found, by calling ``make`` if it isn't done; it must not find None."""
        found = self.known(name)
        return self.keep(name, make()) if found is None else found


class Clock:
    """Seconds that an advice has taken, over all its interruptions; a thread notes them in the folder.

    Args:
        folder: of the advice.
        minutes: budget.
    """

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path, self.budget = folder / CLOCK, 60 * minutes
        self.before: float = json.loads(self.path.read_text())["seconds"] if self.path.exists() else 0.0
        self.begun = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._note, daemon=True)

    @property
    def spent(self) -> float:
        """Seconds spent."""
        return self.before + time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds left; negative if the budget is exceeded."""
        return self.budget - self.spent

    def _note(self) -> None:
        while not self._over.wait(EVERY):
            self._write()

    def _write(self) -> None:
        write_text(self.path, json.dumps({"seconds": round(self.spent, 2)}))

    def __enter__(self) -> Clock:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._write()
