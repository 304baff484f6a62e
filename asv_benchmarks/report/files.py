"""Saved results, and the tables in the pages."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from .table import Table

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"


def save(path: Path, reports: dict[str, dict]) -> None:
    """Write reports by the names of their tables."""
    content = {"reports": [{"table": name, **report} for name, report in reports.items()]}
    # whole or not at all, since a run of an hour saves after every cell
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=1) + "\n")
    new.replace(path)


def load(paths: Iterable[Path], tables: Mapping[str, Table], default: str) -> dict[str, dict]:
    """Return saved reports by the names of their tables, those of a table joined.

    Of a cell that was measured several times, the last file's figures are taken. ``default`` is the
    name of a single report that doesn't tell its own.
    """
    joined: dict[str, dict] = {}
    for path in paths:
        content = json.loads(path.read_text())
        for report in content.get("reports", [content]):
            known = joined.setdefault(report.get("table", default), {"machines": [], "cells": []})
            for machine in report.get("machines") or [report["machine"]]:
                if machine not in known["machines"]:
                    known["machines"].append(machine)
            known["cells"] += report["cells"]
    for name, report in joined.items():
        report["cells"] = tables[name].in_order(report["cells"])
    return joined


def write_table(path: Path, name: str, table: str) -> None:
    """Replace what stands between the table's markers."""
    begin, end = f"<!-- table:{name} -->", f"<!-- /table:{name} -->"
    head, found, rest = path.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no markers {begin} … {end}")
    path.write_text(f"{head}{begin}\n{table}\n{end}{tail}")
