"""The command line: `python -m asv_benchmarks.report`.

Without options it measures a part of every table in about ten minutes. Data are in memory, all
start alike where the library lets them, what is compiled or loaded at first use is left out, and
libraries take turns, so that a slow minute of the machine hits all of them. Peers that aren't
installed are left out.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ..benchmarks import blas, data, measure
from . import files, plots, text
from .bernoulli import Bernoulli
from .gaussian import Gaussian
from .kmeans import KMeans
from .kmedians import KMedians
from .overheads import Overheads
from .places import Places
from .progress import progress_bar
from .published import Published
from .roofline import Roofline
from .scaling import Scaling
from .search import PACKAGES, Search
from .seeding import Seeding
from .silhouette import Silhouette
from .starts import Starts
from .table import Table
from .texts import TextRows

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        KMeans(),
        KMeans(
            "kmeans-many",
            "K-means, many clusters and features",
            data.many_cells(),
            short=("50k,768,500",),
            quick=("50k,768,500",),
        ),
        TextRows(),
        Gaussian(),
        KMedians(),
        Bernoulli(),
        Seeding(),
        Silhouette(),
        Roofline(),
        Scaling(),
        Places(),
        Overheads(),
        Published(),
        Search("KMeans", "search-kmeans", "K-means that searches", tuple(PACKAGES)),
        Search("KMedians", "search-kmedians", "K-medians that searches", ()),
        Starts(),
    )
}


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse(argv)
    failed = 0
    names = list(TABLES) if "all" in options.table else options.table
    if options.load:
        reports = files.load(map(Path, options.load), TABLES, names[0])
        for name, report in reports.items():
            print("\n".join(text_table(TABLES[name], report)))
    else:
        if options.openblas:
            try:
                blas.choose(options.openblas)
            except ValueError as error:
                sys.exit(str(error))
        with measure.threads(options.threads):
            reports, failed = run([TABLES[name] for name in names], options)
    if options.plots:
        for path in plots.draw(reports, TABLES, Path(options.plots)):
            print(f"drew {path}")
    if options.write_docs:
        write_docs(reports)
    if options.write_other:
        write_other(reports)
    return 1 if failed else 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m asv_benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    shapes = {
        name: list(dict.fromkeys(cell.shape_name for cell in table.all_cells()))
        for name, table in TABLES.items()
    }
    peers = list(dict.fromkeys(peer for table in TABLES.values() for peer in table.peers))
    help = "which to measure (default: all)"
    add("--table", nargs="+", choices=[*TABLES, "all"], default=["all"], help=help)
    help = "; ".join(f"{name}: {' '.join(cells)}" for name, cells in shapes.items())
    choices = list(dict.fromkeys(cell for cells in shapes.values() for cell in cells))
    add("--cells", nargs="+", metavar="SHAPE", choices=choices, help=help)
    add("--kind", nargs="+", choices=data.KINDS, help="kinds of data")
    add("--dtype", nargs="+", choices=data.DTYPES, help="default: both")
    add("--peers", nargs="*", choices=peers, default=peers, help="default: all")
    add("--algorithms", nargs="*", default=["auto"], help="of KMeans; ratios use the first")
    help = "times of each (default: 3; with --full 3 to 50, and 1 of those above 20 s)"
    add("--repeats", type=int, help=help)
    add("--threads", type=int, default=measure.N_THREADS, help="default: all CPUs")
    help = "code for FAISS' and mlpack's OpenBLAS, where it knows this CPU too little: SkylakeX"
    add("--openblas", metavar="CODE", help=help)
    add("--full", action="store_true", help="all cells: about an hour and a half")
    add("--quick", action="store_true", help="few cells of few rows, once: shows that all runs")
    add("--save", metavar="FILE", help="save the figures as JSON, after every cell")
    help = "measure nothing, join and show the figures of saved files"
    add("--load", nargs="+", metavar="FILE", help=help)
    help = "put the tables into their pages in docs/, and what all come to into README.md"
    add("--write-docs", action="store_true", help=help)
    help = "put what the tables come to into docs/, beside those of the CPU that is told in full"
    add("--write-other", action="store_true", help=help)
    add("--plots", metavar="FOLDER", help="draw the plots there")
    options = parser.parse_args(argv)
    if options.quick and (options.write_docs or options.write_other):
        parser.error("--quick makes no figures for the pages")
    if options.repeats is None and not options.full:
        options.repeats = 1 if options.quick else 3
    return options


def run(tables: list[Table], options: argparse.Namespace) -> tuple[dict[str, dict], int]:
    """Measure the chosen cells, printing and saving each as it is done.

    Returns the reports by their tables' names, and how many cells raised an error.
    """
    machine = measure.machine(options.threads)
    print(text.describe(machine))
    chosen = {table.name: table.choose(options) for table in tables}
    tables = [table for table in tables if chosen[table.name]]
    for table in tables:
        for message in table.missing([name for name in options.peers if name in table.peers]):
            print(f"{table.name}: {message}, left out", file=sys.stderr)
    reports, failed = {}, 0
    total = sum(table.seconds_a_cell * len(chosen[table.name]) for table in tables)
    with progress_bar(total) as bar:
        for table in tables:
            rows: list[dict] = []
            reports[table.name] = {"machines": [machine], "cells": rows}
            print(f"\n{table.header()}")
            for cell in chosen[table.name]:
                shown = f"{table.name} {cell.shape_name} {cell.dtype}"
                bar.update(bar.task_ids[0], description=shown, refresh=True)
                try:
                    rows.append(table.measure(cell, options))
                    print(table.line(rows[-1]), flush=True)
                except Exception as error:  # an hour's other cells shall not be lost
                    failed += 1
                    print(f"{shown}: {type(error).__name__}: {error}", file=sys.stderr)
                if options.save:
                    files.save(Path(options.save), reports)
                bar.advance(bar.task_ids[0], table.seconds_a_cell)
            if rows:
                print("\n".join(table.summary(rows)))
    return {name: report for name, report in reports.items() if report["cells"]}, failed


def text_table(table: Table, report: dict) -> list[str]:
    """Return the lines of a table and its summary."""
    rows = report["cells"]
    return ["", table.header(), *map(table.line, rows), *table.summary(rows)]


def write_docs(reports: dict[str, dict]) -> None:
    """Put the tables into their pages, and if all are there what they come to into the README."""
    for name, report in reports.items():
        table = TABLES[name]
        if table.page is not None:
            files.write_table(files.DOCS / table.page, name, full_table(table, report))
    in_readme = {name: table for name, table in TABLES.items() if table.in_readme}
    if missing := [name for name in in_readme if name not in reports]:
        print(f"README.md stays as it is: its table needs {', '.join(missing)}, too")
    else:
        compared = {table: reports[name] for name, table in in_readme.items()}
        files.write_table(files.README, "speed", speed_table(compared))


def write_other(reports: dict[str, dict]) -> None:
    """Put what the tables come to into the page that has most of them, as another CPU's."""
    reports = {name: report for name, report in reports.items() if TABLES[name].page == Table.page}
    notes = [
        f"- {TABLES[name].title}: {note}"
        for name, report in reports.items()
        for note in TABLES[name].summary(report["cells"])
    ]
    if not notes:
        print(f"docs/{Table.page} stays as it is: none of its tables is there")
        return
    notes += ["", measured_on(reports.values())]
    files.write_table(files.DOCS / Table.page, "other-cpu", "\n".join(notes))


def speed_table(compared: dict[Table, dict]) -> str:
    """Return a line for each table: its cells' ratios to the fastest other library in each."""
    columns = [("", "left"), ("beside the fastest, cell by cell, of", "left")]
    for dtype in data.DTYPES:
        columns += [(f"{dtype}: cells", "right"), ("mean", "right"), ("worst", "right")]
    lines = []
    for table, report in compared.items():
        points = table.speed_ups(report["cells"])
        libraries = dict.fromkeys(table.library(peer) for point in points for peer in point.ratios)
        line = [table.title, ", ".join(libraries)]
        for dtype in data.DTYPES:
            ratios = [point.ratio for point in points if point.dtype == dtype]
            line += text.mean_and_worst(ratios)
        lines.append(line)
    return (
        f"{text.markdown(columns, lines)}\n\n"
        "How many times as long as fastem the fastest other library takes: geometric mean and "
        "worst of the cells measured. "
        f"{measured_on(compared.values())}"
    )


def full_table(table: Table, report: dict) -> str:
    """Return a table as Markdown, and below it how it was measured, on what, and the ratios."""
    rows = report["cells"]
    shown = table.markdown(rows)
    busy = f"~: other processes took over {text.BUSY:.0%} of the machine meanwhile."
    parts = [
        shown,
        " ".join([table.caption(rows), busy] if "~" in shown else [table.caption(rows)]),
        "\n".join(f"- {note}" for note in table.summary(rows)),
        measured_on([report]),
    ]
    return "\n\n".join(part for part in parts if part)


def measured_on(reports: Iterable[dict]) -> str:
    """Return the sentence that names the machines of some tables, each once."""
    machines = (machine for report in reports for machine in report["machines"])
    return f"Measured on {text.describe_all(machines)}."


if __name__ == "__main__":
    raise SystemExit(main())
