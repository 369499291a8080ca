"""Build what setup.cfg can't say: configs/ as a package, and a README whose pictures show on a package index."""

import re
from pathlib import Path

from setuptools import find_namespace_packages, find_packages, setup

URL = ""  # the project's public address; it has none yet. With one, links and pictures of the README become absolute


def long_description() -> str:
    """Return the README, its relative links and pictures below `URL`."""

    def absolute(found: re.Match[str]) -> str:
        return f"]({URL}/{'raw' if found[1].endswith('.png') else 'blob'}/HEAD/{found[1]})"

    readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
    return re.sub(r"\]\((?![a-z]+:|#)([^)]+)\)", absolute, readme) if URL else readme


setup(
    packages=[
        *find_packages(include=["avssl*"]),
        "avssl.configs",
        *(f"avssl.configs.{name}" for name in find_namespace_packages("configs")),
    ],
    package_dir={"avssl.configs": "configs"},
    package_data={"": ["py.typed", "*.pyi", "*.yaml"]},
    long_description=long_description(),
    long_description_content_type="text/markdown",
    url=URL,
    project_urls={"Changelog": f"{URL}/blob/HEAD/CHANGELOG.md", "Issues": f"{URL}/issues"} if URL else {},
)
