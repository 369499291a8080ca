"""Reports hold their pictures, and text stays text."""

import base64
import re

import numpy as np
from matplotlib.image import imsave

from avssl.applications.report import Page


def test_a_page_holds_its_pictures_and_escapes_its_text(tmp_path):
    picture = tmp_path / "pictures" / "a picture.png"
    picture.parent.mkdir()
    imsave(picture, np.zeros((4, 4, 3)))
    page = Page("<b>R&D</b>")
    page.lead("first | second")
    page.heading("x*y")
    page.table(["a|b", "c"], [["<script>", "1_2"]])
    page.items(["one", "two"])
    page.code("avssl x -o y")
    page.picture(picture, 'a "caption"')
    page.write(tmp_path)

    html = (tmp_path / "report.html").read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "<b>R" not in html
    (inside,) = re.findall(r"src='data:image/png;base64,([^']+)'", html)
    assert base64.b64decode(inside) == picture.read_bytes()
    assert "http" not in html
    assert str(tmp_path) not in html

    text = (tmp_path / "report.md").read_text()
    assert "](<pictures/a picture.png>)" in text
    assert "\\<script\\>" in text
    assert "a\\|b" in text
    assert "x\\*y" in text
    assert "    avssl x -o y" in text
