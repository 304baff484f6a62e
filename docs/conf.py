"""How Sphinx makes the site of these pages: `sphinx-build -W docs docs/_build`."""

import inspect
import os
import re
import sys
import tempfile
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"
DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))

from _ext.gallery import PictureFiles, arguments_of  # noqa: E402

import fastem  # noqa: E402

project = "fastem"
author = "The fastem developers"
copyright = author
version = release = fastem.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
    "_ext.mathml",
]
exclude_patterns = ["_build", "_ext", "_templates"]
suppress_warnings = [
    "ref.term",  # docstrings have scikit-learn's :term:`fit`
    "config.cache",  # the gallery's functions can't be kept for the next build
]

# Pages are written for a forge as well, so that links to headings are as these make them.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

# A page for each name. Whatever scikit-learn's base classes bring is documented there.
autosummary_generate = True
templates_path = ["_templates"]
autodoc_typehints = "none"  # numpydoc's sections have the types
autodoc_member_order = "bysource"
numpydoc_show_class_members = False

# The examples, run as a newcomer runs them, with all that they write in a temporary folder.
_written = Path(tempfile.mkdtemp(prefix="fastem-gallery-"))
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r".*\.py",
    "ignore_pattern": r"(dask|mpi)_\w+\.py$",  # these need workers or a launcher
    "within_subsection_order": "ExampleTitleSortKey",
    "reset_argv": arguments_of(_written),
    "image_scrapers": (PictureFiles(_written),),
    "matplotlib_animations": False,
    "download_all_examples": False,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "abort_on_example_error": True,
    "remove_config_comments": True,
}

html_theme = "pydata_sphinx_theme"
html_title = "fastem"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "navbar_end": ["theme-switcher"],
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": True,
    "navigation_with_keys": False,
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}
html_sidebars = {"index": []}

# Pages of the folder `project` are those at the root.
_ROOT_PAGES = {DOCS.parent / f"{page.stem.upper()}.md": page for page in DOCS.glob("project/*.md")}
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#]+)(#[^)]*)?\)")


def _turn_links(app, name, source):
    """Turn links, which are as a forge follows them: to pages of the site, or else to mere text."""
    page = DOCS / f"{name}.md"
    base = page.parent
    for root_page in (root for root, here in _ROOT_PAGES.items() if here == page):
        source[0] = root_page.read_text(encoding="utf-8")
        base = root_page.parent
        app.env.note_dependency(str(root_page))

    def turned(match):
        text, target, anchor = match.groups(default="")
        place = (base / target).resolve()
        place = _ROOT_PAGES.get(place, place)
        if not place.exists():
            return match.group()
        if not place.is_relative_to(DOCS):
            return text
        return f"[{text}](/{place.relative_to(DOCS).as_posix()}{anchor})"

    if page.exists():
        source[0] = _LINK.sub(turned, source[0])


def _skip_strangers(app, what, name, member, skip, options):
    """Leave out of a class's page what it has from scikit-learn."""
    function = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", member))
    module = getattr(function, "__module__", None) or ""
    return True if what == "class" and not module.startswith("fastem") else None


def setup(app):
    app.connect("source-read", _turn_links)
    app.connect("autodoc-skip-member", _skip_strangers)
