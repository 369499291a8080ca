"""MkDocs hook that lists every page of ``docs/methods``, so that a new method needs no line in ``mkdocs.yml``."""

from pathlib import Path
from typing import Any

SECTION = "methods"


def on_config(config: Any) -> None:
    """Append the pages of the section to its entry in the navigation, sorted by title."""
    folder = Path(config["docs_dir"]) / SECTION
    pages = [page for page in folder.glob("*.md") if page.name != "README.md"]
    titles = {page: page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for page in pages}
    entry = next(entry for entry in config["nav"] if f"{SECTION}/README.md" in next(iter(entry.values())))
    (listed,) = entry.values()
    listed += [f"{SECTION}/{page.name}" for page in sorted(pages, key=lambda page: titles[page].casefold())]
