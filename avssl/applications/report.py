"""Reports: a self-contained HTML page with its pictures inside, and the same in Markdown with links to them."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avssl.evaluation.report import markdown
from avssl.runtime.files import write_text

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:.9rem;display:block;overflow-x:auto}"
    "th,td{border:1px solid #ccc;padding:.25rem .6rem;text-align:left;vertical-align:top}th{background:#f3f3f3}"
    "img{max-width:100%}figure{margin:1rem 0}figcaption{color:#555;font-size:.9rem}"
    "pre{background:#f3f3f3;padding:.6rem;overflow-x:auto}"
    ".lead{background:#eef5ee;border-left:4px solid #4a8;padding:.6rem 1rem}"
)


@dataclass
class Page:
    """A report, built from top to bottom; all text is plain and is escaped when it is written.

    Attributes:
        title: heading of the page.
    """

    title: str
    _html: list[str] = field(default_factory=list)
    _markdown: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Begin a section."""
        self._html.append(f"<h2>{html.escape(text)}</h2>")
        self._markdown.append(f"## {_plain(text)}")

    def text(self, *sentences: str) -> None:
        """Add a paragraph."""
        self._html.append(f"<p>{html.escape(' '.join(sentences))}</p>")
        self._markdown.append(_plain(" ".join(sentences)))

    def lead(self, *paragraphs: str) -> None:
        """Add what matters most, set off from the rest, one paragraph per line."""
        self._html.append("<div class='lead'>" + "".join(f"<p>{html.escape(one)}</p>" for one in paragraphs) + "</div>")
        self._markdown += [f"> {_plain(one)}" for one in paragraphs]

    def items(self, lines: Sequence[str]) -> None:
        """Add a list."""
        if lines:
            self._html.append("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>")
            self._markdown.append("\n".join(f"- {_plain(line)}" for line in lines))

    def table(self, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add a table of text."""
        above = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
        body = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
        lines = "".join(f"<tr>{row}</tr>" for row in body)
        self._html.append(f"<table><thead><tr>{above}</tr></thead><tbody>{lines}</tbody></table>")
        cells = [[_plain(cell).replace("|", "\\|") for cell in row] for row in (headings, *rows)]
        self._markdown.append(markdown(cells[0], cells[1:]).rstrip())

    def code(self, text: str) -> None:
        """Add lines to type, as they are."""
        self._html.append(f"<pre>{html.escape(text)}</pre>")
        self._markdown.append("\n".join(f"    {line}" for line in text.splitlines()))

    def picture(self, path: Path, caption: str) -> None:
        """Add a PNG file with a caption: inside the HTML, and linked from the Markdown beside it."""
        inside = base64.b64encode(path.read_bytes()).decode()
        said = html.escape(caption, quote=True)
        image = f"<img alt='{said}' src='data:image/png;base64,{inside}'>"
        self._html.append(f"<figure>{image}<figcaption>{said}</figcaption></figure>")
        self._markdown.append((path, caption))  # type: ignore[arg-type]  # linked when the page's place is known

    def write(self, folder: Path, name: str = "report") -> Path:
        """Write ``NAME.md`` and ``NAME.html``, whose path is returned; each appears whole or not at all."""
        title = html.escape(self.title)
        head = f"<meta charset='utf-8'><meta name='viewport' content='width=device-width'><title>{title}</title>"
        page = f"<!doctype html><html lang='en'><head>{head}<style>{STYLE}</style></head><body><h1>{title}</h1>"
        text = [part if isinstance(part, str) else _link(*part, folder) for part in self._markdown]
        write_text(folder / f"{name}.md", "\n\n".join([f"# {_plain(self.title)}", *text]) + "\n")
        write_text(folder / f"{name}.html", "\n".join([page, *self._html, "</body></html>"]) + "\n")
        return folder / f"{name}.html"


def _link(path: Path, caption: str, folder: Path) -> str:
    near = path.relative_to(folder) if path.is_relative_to(folder) else path
    return f"![{_plain(caption)}](<{near.as_posix()}>)"


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup, as names of files and classes may contain it."""
    for mark in "\\`*_<>[]":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
