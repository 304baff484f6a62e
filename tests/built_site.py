"""Reads a built site, and tells what is wrong with it.

``python tests/built_site.py docs/_build`` ends with exit code 1 if anything is.
"""

import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The modules with public names.
PUBLIC = ("fastem", "fastem.em", "fastem.kernels", "fastem.plot", "fastem.rows")
# What a page can't be shown without.
LOADED = {("img", "src"), ("link", "href"), ("script", "src")}


def public_names():
    """All public names, with their modules'."""
    return [f"{module}.{name}" for module in PUBLIC for name in import_module(module).__all__]


class Page(HTMLParser):
    """A page's anchors, what it links to, and what it loads.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loaded = set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id" and value:
                self.anchors.add(value)
            elif (tag, name) in LOADED:
                self.loaded.append(value or "")
            elif (tag, name) == ("a", "href"):
                self.links.append(value or "")


def _is_outside(target):
    parts = urlsplit(target)
    return bool(parts.scheme or parts.netloc)


def _needs_the_internet(target):
    return _is_outside(target) and not target.startswith("data:")


def _leads_somewhere(pages, path, target):
    parts = urlsplit(target)
    place = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if place.is_dir():
        place /= "index.html"
    if place not in pages or not parts.fragment:
        return place.exists()
    return unquote(parts.fragment) in pages[place].anchors


def faults(folder):
    """Links that lead nowhere, what is loaded from elsewhere, public names without a page."""
    folder = Path(folder).resolve()
    pages = {
        path: Page(path)
        for path in sorted(folder.rglob("*.html"))
        if folder / "_static" not in path.parents  # templates
    }
    if not pages:
        return [f"{folder}: no pages"]
    found = []
    for path, page in pages.items():
        name = path.relative_to(folder)
        found += [f"{name} needs {target}" for target in page.loaded if _needs_the_internet(target)]
        inside = [
            t
            for t in page.links + page.loaded
            if not urlsplit(t).scheme and not _needs_the_internet(t)
        ]
        found += [f"{name}: {t}" for t in inside if not _leads_somewhere(pages, path, t)]
    documented = set().union(*(page.anchors for page in pages.values()))
    return found + [
        f"{name}: not in the reference" for name in public_names() if name not in documented
    ]


if __name__ == "__main__":
    listed = faults(sys.argv[1])
    print("\n".join(listed) or "All links lead somewhere, and all public names are documented.")
    sys.exit(bool(listed))
