"""What the README and the pages show, as a newcomer would copy and follow it."""

import re
import shlex
from pathlib import Path

import pytest

from asv_benchmarks.gate.__main__ import parse as parse_gate
from asv_benchmarks.report.__main__ import parse as parse_report

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCS = sorted(
    page for folder in ("docs", "docs/derivations") for page in (ROOT / folder).glob("*.md")
)
PAGES = sorted(ROOT.glob("*.md")) + DOCS
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page):
    """The headings' anchors, as GitHub and Sphinx make them."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


# CONTRIBUTING's benchmark has a test of its own, among those of the benchmarks.
SHOWING = [page for page in (README, *DOCS) if blocks(page, "python")]


@pytest.mark.parametrize("page", SHOWING, ids=name)
def test_python_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, name(page), "exec"), {})


def test_the_readme_shows_every_estimator():
    (shown,) = blocks(README, "python")
    for estimator in (
        "KMeans(",
        "KMedians(",
        "GaussianMixture(",
        "BernoulliMixture(",
        "em.Mixture",
    ):
        assert estimator in shown


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text()):
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_the_readme_leads_to_every_page():
    reached, ahead = set(), {README}
    while ahead:
        page = ahead.pop()
        reached.add(page)
        linked = {(page.parent / target).resolve() for target, _ in LINK.findall(page.read_text())}
        ahead |= (linked & set(PAGES)) - reached
    assert [name(page) for page in PAGES if page not in reached] == []


def test_every_picture_is_shown():
    shown = {
        (page.parent / target).resolve()
        for page in PAGES
        for target, _ in LINK.findall(page.read_text())
    }
    pictures = [path for path in (ROOT / "docs").iterdir() if path.suffix in (".png", ".jpg")]
    assert [name(path) for path in pictures if path not in shown] == []


def commands():
    for page in PAGES:
        for block in blocks(page, "sh"):
            lines = block.replace("\\\n", " ").splitlines()
            for line in lines:
                for command in re.split(r"&&|;", line.split("  #")[0]):
                    yield name(page), shlex.split(command)


def test_commands_name_what_is_there():
    parsers = {"asv_benchmarks.gate": parse_gate, "asv_benchmarks.report": parse_report}
    met = set()
    for page, words in commands():
        for word in words:
            if re.fullmatch(r"(examples|tests|asv_benchmarks)/[\w./]+|\.ci/run", word):
                assert (ROOT / word).exists(), f"{page}: {word}"
        for module, parse in parsers.items():
            if module in words:
                parse(words[words.index(module) + 1 :])
                met.add(module)
    assert met == set(parsers)


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_the_architecture_fits_on_a_page_and_names_what_is_there():
    page = (ROOT / "ARCHITECTURE.md").read_text()
    assert len(page.splitlines()) <= 80
    named = re.findall(r"`((?:fastem|tests|examples|asv_benchmarks)/[^`]*)`", page)
    assert len(named) > 30
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_loop_is_as_the_architecture_shows_it():
    """Line by line, but for the comment, callbacks and reports."""
    page = (ROOT / "ARCHITECTURE.md").read_text()
    (shown,) = re.findall(r"^```text\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    loop = " ".join((ROOT / "fastem" / "loop" / "fit.py").read_text().split())
    for line in shown.splitlines():
        statement = line.partition("#")[0].strip()
        if not statement.startswith("if "):
            assert statement in loop, statement
