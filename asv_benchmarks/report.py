"""Compare fastem with its peers on this machine: `python -m asv_benchmarks.report`.

With `--table gaussian` it compares Gaussian mixtures, otherwise K-means, where
every fit starts from the same centres and runs to the same convergence; the data are in memory,
whatever is compiled or loaded at first use is left out, and the median of several fits counts.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from . import gaussian_report
from .benchmarks import data, measure
from .benchmarks.peers import MAX_ITER, PEERS, Fit, Peer, fit_fastem, inertia

FOLDER = Path(__file__).parent
README = FOLDER.parent / "README.md"
PEER_TIMES = FOLDER / ".cache" / "peers.json"
BUSY = 0.05  # the share of the machine taken by other processes above which a time is marked by ~


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    options = parse(argv)
    if options.table == "gaussian":
        return report_gaussian(options)
    if options.load:
        report = json.loads(Path(options.load).read_text())
        print(text_table(report["cells"]))
    else:
        with measure.threads(options.threads):
            report = run(options)
    if options.save:
        Path(options.save).write_text(json.dumps(report, indent=1) + "\n")
    if options.write_readme:
        write_readme(README, "kmeans", readme_table(report))
    return 0


def report_gaussian(options: argparse.Namespace) -> int:
    """Measure or load the table of Gaussian mixtures."""
    if options.load:
        report = json.loads(Path(options.load).read_text())
        print("\n".join(map(gaussian_report.line, report["cells"])))
    else:
        machine = measure.machine(options.threads)
        print(describe(machine))
        with measure.threads(options.threads):
            cells = gaussian_report.run(
                options.cells, options.dtype, options.repeats, options.quick
            )
        report = {"machine": machine, "cells": cells}
    print(gaussian_report.summary(report["cells"]))
    if options.save:
        Path(options.save).write_text(json.dumps(report, indent=1) + "\n")
    if options.write_readme:
        table = gaussian_report.readme_table(report["cells"])
        measured = f"Measured on {describe(report['machine'])}."
        write_readme(README, "gaussian", f"{table}\n\n{measured}")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m asv_benchmarks.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = list(dict.fromkeys(cell.shape_name for cell in data.all_cells()))
    add("--table", choices=["kmeans", "gaussian"], default="kmeans", help="default: kmeans")
    add(
        "--cells",
        nargs="+",
        metavar="SHAPE",
        choices=[*names, *gaussian_report.NAMES],
        help=f"of {' '.join(names)}; gaussian: of {' '.join(gaussian_report.NAMES)}",
    )
    add("--kind", nargs="+", choices=data.KINDS, help="kinds of data (default: all)")
    add("--dtype", nargs="+", choices=data.DTYPES, help="default: both")
    add("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="default: all")
    add("--algorithms", nargs="*", default=["auto"], help="of fastem; ratios use the first")
    add("--repeats", type=int, help="fits of each (default: 3 to 50, and 1 of those above 20 s)")
    add("--threads", type=int, default=measure.N_THREADS, help="default: all CPUs")
    add("--quick", action="store_true", help="a twentieth of the rows, one fit of each")
    add("--remeasure-peers", action="store_true", help="don't use the peers' remembered times")
    add("--save", metavar="FILE", help="save all figures as JSON")
    add("--load", metavar="FILE", help="measure nothing, show the figures of a saved file")
    add("--write-readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args(argv)
    if options.quick and options.write_readme:
        parser.error("--quick makes no figures for the README")
    return options


def run(options: argparse.Namespace) -> dict:
    """Measure the chosen cells, printing each as it is done."""
    peers = []
    for name in options.peers:
        if PEERS[name].version is None:
            print(f"{name}: {PEERS[name].distribution} is not installed, left out", file=sys.stderr)
        else:
            peers.append(PEERS[name])
    cells = [
        cell
        for cell in data.all_cells()
        if (not options.cells or cell.shape_name in options.cells)
        and (not options.kind or cell.kind in options.kind)
        and (not options.dtype or cell.dtype in options.dtype)
    ]
    if options.quick:
        options.repeats = 1
        cells = [cell._replace(rows=max(cell.rows // 20, 2 * cell.clusters)) for cell in cells]
    machine = measure.machine(options.threads)
    print(describe(machine))
    print(header())
    # a table to be published is measured in one run
    memory = PeerTimes(machine, fresh=options.remeasure_peers or options.write_readme)
    rows = []
    for number, cell in enumerate(cells, 1):
        show_progress(f"[{number}/{len(cells)}] {' '.join(map(str, cell))}")
        rows.append(measure_cell(cell, peers, options, memory))
        show_progress("")
        print(line(rows[-1]), flush=True)
    print(summary(rows))
    return {"machine": machine, "cells": rows}


def measure_cell(
    cell: data.Cell, peers: list[Peer], options: argparse.Namespace, memory: "PeerTimes"
) -> dict:
    """Time one cell's fits and return its figures."""
    X = data.make_rows(cell)[: cell.rows]
    init = data.starting_centers(X, cell.clusters)
    peers = [peer for peer in peers if cell.dtype in peer.dtypes]
    known = {p.name: found for p in peers if (found := memory.find(cell, p, options.quick))}
    new = [peer for peer in peers if peer.name not in known]

    runs, counts = {}, []
    for algorithm in options.algorithms:
        runs[fastem_name(algorithm)] = lambda name=algorithm: fit_fastem(X, init, name)
        # a whole fit to warm up, since which kernels are compiled depends on its course
        counts.append(fit_fastem(X, init, algorithm).n_iter)
    if any(peer.wants_n_iter for peer in new):
        lloyd = known.get("lloyd")
        counts.append(lloyd["n_iter"] if lloyd else PEERS["lloyd"].fit(X, init, MAX_ITER).n_iter)
    for peer in new:
        peer.fit(X[: 2 * cell.clusters], init, 2)  # loads the library and starts its threads
        runs[peer.name] = lambda fit=peer.fit: fit(X, init, min(counts))
    figures = dict(known)
    load = measure.OthersLoad()
    timed = measure.in_turns(runs, options.repeats, measure.PAUSE)
    others = round(load.share(), 3)
    for name, (times, fit) in timed.items():
        assert isinstance(fit, Fit)
        figures[name] = {
            "seconds": measure.median(times),
            "times": times,
            "others_load": others,
            "n_iter": int(fit.n_iter),
            "inertia": inertia(X, fit.centers),
        }
    for peer in new:
        memory.keep(cell, peer, options.quick, figures[peer.name])
    return {**cell._asdict(), "shape_name": cell.shape_name, "fits": figures}


def fastem_name(algorithm: str) -> str:
    """Return the column's name of one of fastem's algorithms."""
    return "fastem" if algorithm == "auto" else f"fastem:{algorithm}"


class PeerTimes:
    """The peers' times on this machine, kept in a file: they're dear and seldom change."""

    def __init__(self, machine: dict[str, str], fresh: bool):
        self.machine = f"{machine['cpu']}, {machine['threads']} threads"
        self.fresh = fresh

    @staticmethod
    def _read() -> dict[str, dict]:
        return json.loads(PEER_TIMES.read_text()) if PEER_TIMES.exists() else {}

    def _key(self, cell: data.Cell, peer: Peer) -> str:
        return "; ".join([self.machine, f"{peer.name} {peer.version}", *map(str, cell)])

    def find(self, cell: data.Cell, peer: Peer, quick: bool) -> dict | None:
        """Return a peer's figures of an earlier run, or None."""
        return None if self.fresh or quick else self._read().get(self._key(cell, peer))

    def keep(self, cell: data.Cell, peer: Peer, quick: bool, figures: dict) -> None:
        """Remember a peer's figures."""
        if not quick:
            times = self._read() | {self._key(cell, peer): figures}
            PEER_TIMES.parent.mkdir(exist_ok=True)
            PEER_TIMES.write_text(json.dumps(times, indent=1) + "\n")


# What is said of a cell


def own(row: dict) -> str | None:
    """Return the name of the fastem column that ratios use."""
    return next((name for name in row["fits"] if name.startswith("fastem")), None)


def fastest_peer(row: dict) -> str | None:
    """Return the name of the fastest peer."""
    peers = [name for name in PEERS if name in row["fits"]]
    return min(peers, key=lambda name: row["fits"][name]["seconds"], default=None)


def ratio(row: dict) -> float | None:
    """Return how many times faster fastem is than the fastest peer."""
    mine, peer = own(row), fastest_peer(row)
    if mine is None or peer is None:
        return None
    return row["fits"][peer]["seconds"] / row["fits"][mine]["seconds"]


def check(row: dict) -> str:
    """Say whether fastem's iterations and inertia are those of scikit-learn's Lloyd."""
    mine = own(row)
    if mine is None or "lloyd" not in row["fits"]:
        return ""
    ours, theirs = row["fits"][mine], row["fits"]["lloyd"]
    difference = ours["inertia"] / theirs["inertia"] - 1
    same = ours["n_iter"] == theirs["n_iter"] and abs(difference) < 1e-10
    if row["dtype"] == "float32":
        return f"{difference:+.0e}"
    return "same" if same else f"DIFFERS {difference:+.0e}"


def summary(rows: list[dict]) -> str:
    """Return the geometric mean and the worst of the ratios."""
    lines = []
    for dtype in (*data.DTYPES, "both"):
        chosen = [r for r in rows if dtype in ("both", r["dtype"]) and ratio(r) is not None]
        if chosen:
            ratios = [ratio(row) for row in chosen]
            worst = chosen[int(np.argmin(ratios))]
            lines.append(
                f"{dtype}: geometric mean {np.exp(np.mean(np.log(ratios))):.2f}x over "
                f"{len(chosen)} cells, worst {min(ratios):.2f}x "
                f"({worst['shape_name']} {worst['kind']} {worst['dtype']})"
            )
    return "\n".join(lines)


# The table as text

COLUMNS = "{:>12} {:>11} {:>7} " + "{:>9} " * len(PEERS) + "{:>9} {:>7} {:>11} {}"


def header() -> str:
    """Return the head of the text table."""
    return COLUMNS.format(
        "shape", "kind", "dtype", *PEERS, "fastem", "ratio", "iterations", "check"
    )


def line(row: dict) -> str:
    """Return a cell's line of the text table."""
    fits = row["fits"]
    mine, faster = own(row), ratio(row)
    iterations = [fits[name]["n_iter"] for name in ("lloyd", mine) if name in fits]
    others = [name for name in fits if name.startswith("fastem") and name != mine]
    return COLUMNS.format(
        row["shape_name"],
        row["kind"],
        row["dtype"],
        *(seconds(fits.get(name)) for name in PEERS),
        seconds(fits.get(mine)),
        "" if faster is None else f"{faster:.2f}x",
        "/".join(map(str, iterations)),
        " ".join([check(row), *(f"{name} {seconds(fits[name])}" for name in others)]),
    )


def text_table(rows: list[dict]) -> str:
    """Return the whole text table with its summary."""
    return "\n".join([header(), *map(line, rows), summary(rows)])


def seconds(figures: dict | None) -> str:
    """Return a fit's time in seconds with three digits, marked if others kept the machine busy."""
    if figures is None:
        return ""
    return f"{figures['seconds']:#.3g}" + "~" * (figures["others_load"] > BUSY)


def describe(machine: dict[str, str]) -> str:
    """Return the line that names machine, versions and date."""
    return (
        f"{machine['cpu']}, {machine['system']}, {machine['threads']} threads of "
        f"{machine['cpus']} CPUs; {machine['versions']}; {machine['date']}"
    )


def show_progress(text: str) -> None:
    """Replace the progress line on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


# The table in the README


def readme_table(report: dict) -> str:
    """Return the table as Markdown: a line for each kind of data, both dtypes side by side."""
    lines = [
        "| rows | features | clusters | data "
        "| float32: fastem | fastest peer | ratio | float64: fastem | fastest peer | ratio |",
        "| ---: | ---: | ---: | --- | ---: | --- | ---: | ---: | --- | ---: |",
    ]
    grouped: dict[tuple, dict[str, dict]] = {}
    for row in report["cells"]:
        key = (row["rows"], row["features"], row["clusters"], row["kind"])
        grouped.setdefault(key, {})[row["dtype"]] = row
    for (n_rows, n_features, n_clusters, kind), by_dtype in grouped.items():
        parts = [f"{n_rows:,}", str(n_features), str(n_clusters), kind]
        for dtype in data.DTYPES:
            row = by_dtype.get(dtype)
            if row is None or ratio(row) is None:
                parts += ["", "", ""]
                continue
            peer = fastest_peer(row)
            parts += [
                f"{seconds(row['fits'][own(row)])} s",
                f"{seconds(row['fits'][peer])} s {peer}",
                f"**{ratio(row):.1f}**",
            ]
        lines.append(f"| {' | '.join(parts)} |")
    if any("~" in text for text in lines):
        lines += [
            "",
            f"~: other processes took over {BUSY:.0%} of the machine meanwhile.",
        ]
    notes = summary(report["cells"]).replace("\n", "; ").replace("x ", "× ")
    return "\n".join([*lines, "", f"{notes}.", "", f"Measured on {describe(report['machine'])}."])


def write_readme(path: Path, name: str, table: str) -> None:
    """Replace what stands between the table's markers."""
    begin, end = f"<!-- table:{name} -->", f"<!-- /table:{name} -->"
    head, found, rest = path.read_text().partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{path} has no markers {begin} … {end}")
    path.write_text(f"{head}{begin}\n{table}\n{end}{tail}")


if __name__ == "__main__":
    raise SystemExit(main())
