"""What the README shows, as a newcomer would copy it."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(20, 16) [")


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https:)([^)]+)\)", README.read_text())
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
