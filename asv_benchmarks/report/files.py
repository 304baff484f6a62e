"""Saved results, and the README's tables."""

import json
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def save(path: Path, reports: dict[str, dict]) -> None:
    """Write reports by the names of their tables; a single one as it is, with its name."""
    whole = [{"table": name, **report} for name, report in reports.items()]
    content = whole[0] if len(whole) == 1 else {"reports": whole}
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path, default: str) -> dict[str, dict]:
    """Return saved reports by the names of their tables.

    ``default`` is the name of a report that doesn't tell its own.
    """
    content = json.loads(path.read_text())
    reports = content.get("reports", [content])
    return {report.get("table", default): report for report in reports}


def write_readme(path: Path, name: str, table: str) -> None:
    """Replace what stands between the table's markers."""
    begin, end = f"<!-- table:{name} -->", f"<!-- /table:{name} -->"
    head, found, rest = path.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no markers {begin} … {end}")
    path.write_text(f"{head}{begin}\n{table}\n{end}{tail}")
