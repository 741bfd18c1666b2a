"""Notebooks as pages and slides that need nothing but the file: `llmlab notebooks export [--slides] [FILES]`.

nbconvert makes the HTML. Its own templates fetch their scripts from other machines while the page is read; those in
`page/` hold them instead. `page/scripts.zip` has them as the npm registry does, each with its license: `mathjax` 3.2.2
(es5/tex-svg.js, for formulas) and `reveal.js` 4.6.1 (dist/reveal.js and reveal.css, for slides).
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from nbconvert import HTMLExporter, SlidesExporter

from llmlab.notebooks.form import read

PAGE = Path(__file__).resolve().parent / "page"


def scripts() -> dict[str, str]:
    """The scripts and styles that pages hold, by their names in `scripts.zip`."""
    with zipfile.ZipFile(PAGE / "scripts.zip") as archive:
        return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}


def export_file(path: Path, folder: Path, *, slides: bool = False) -> Path:
    """Write the notebook `path` as one page, or as slides, into `folder`; returns the page's path.

    Raises ValueError where `path` is no notebook, OSError where the page cannot be written.
    """
    exporter = (SlidesExporter if slides else HTMLExporter)(
        template_name="llmlab-slides" if slides else "llmlab-page",
        extra_template_basedirs=[str(PAGE)],
        extra_template_paths=[str(PAGE)],
    )
    resources = {"metadata": {"name": path.stem, "path": str(path.parent)}, "scripts": scripts()}
    text, _ = exporter.from_notebook_node(read(path), resources=resources)
    page = folder / f"{path.stem}{'.slides' if slides else ''}.html"
    page.write_text(text, encoding="utf-8")
    return page
