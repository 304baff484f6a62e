"""The site's sources name all pages and public names, and the checks of a built one see faults."""

import re
import subprocess
import sys

import built_site
import pytest
from test_readme import DOCS, ROOT

SOURCES = ROOT / "docs"
STRUCTURE = [SOURCES / name for name in ("index.rst", "guide.rst")]


def entries(page):
    """A page's lines that are but a name, indented below a directive."""
    return re.findall(r"^ +([\w/-]+)$", page.read_text(), re.MULTILINE)


def test_the_reference_lists_every_public_name():
    sections = (SOURCES / "reference/index.rst").read_text().split(".. currentmodule:: ")[1:]
    names = [
        f"{section.split()[0]}.{name}"
        for section in sections
        for name in re.findall(r"^   (\w+)$", section, re.MULTILINE)
    ]
    assert sorted(names) == sorted(built_site.public_names())


def test_every_page_has_a_place():
    chapters = [SOURCES / "derivations/index.rst", *STRUCTURE]
    listed = {
        (page.parent / f"{entry}.md").resolve() for page in chapters for entry in entries(page)
    }
    assert [page for page in DOCS if page not in listed] == []


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_have_a_title(example):
    title, underline, *_ = example.read_text().removeprefix('"""').splitlines()
    assert len(underline.removesuffix('"""')) >= len(title)
    assert set(underline.removesuffix('"""')) == {"="}


@pytest.fixture
def site(tmp_path):
    """A site without a fault, of two pages."""
    anchors = "".join(f'<dt id="{name}"></dt>' for name in built_site.public_names())
    (tmp_path / "index.html").write_text(
        f'<a href="other.html#here">x</a><a href="#top">x</a><h1 id="top"></h1>{anchors}'
    )
    (tmp_path / "other.html").write_text(
        '<h1 id="here"></h1><a href="https://example.org/no">x</a><img src="a%20b.png">'
    )
    (tmp_path / "a b.png").touch()
    return tmp_path


def test_a_site_without_faults(site):
    assert built_site.faults(site) == []


@pytest.mark.parametrize(
    ("planted", "fault"),
    [
        ('<a href="missing.html">x</a>', "third.html: missing.html"),
        ('<a href="other.html#gone">x</a>', "third.html: other.html#gone"),
        ('<a href="#gone">x</a>', "third.html: #gone"),
        ('<img src="gone.png">', "third.html: gone.png"),
        ('<script src="https://cdn.example/x.js">', "third.html needs https://cdn.example/x.js"),
        ('<link href="//cdn.example/x.css">', "third.html needs //cdn.example/x.css"),
    ],
)
def test_what_leads_nowhere_is_seen(site, planted, fault):
    (site / "third.html").write_text(planted)
    assert built_site.faults(site) == [fault]


def test_a_name_without_a_page_is_seen(site):
    page = site / "index.html"
    page.write_text(page.read_text().replace('id="fastem.KMeans"', ""))
    assert built_site.faults(site) == ["fastem.KMeans: not in the reference"]


def test_no_site_is_a_fault(tmp_path):
    done = subprocess.run(
        [sys.executable, built_site.__file__, tmp_path], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no pages" in done.stdout
