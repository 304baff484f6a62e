"""The report's tables, files and plots, from made-up figures."""

import importlib.metadata
import importlib.util
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest

from asv_benchmarks.benchmarks import data, peers
from asv_benchmarks.benchmarks.search import SETS
from asv_benchmarks.benchmarks.starts import AUTO, STARTS
from asv_benchmarks.report import __main__ as report
from asv_benchmarks.report import files, text
from asv_benchmarks.report.__main__ import TABLES, full_table, parse, speed_table
from asv_benchmarks.report.kmeans import fastest_peer
from asv_benchmarks.report.plots import spread
from asv_benchmarks.report.roofline import limits
from asv_benchmarks.report.table import SpeedUp

MACHINE = {
    "cpu": "Some CPU",
    "cpus": "4",
    "threads": "3",
    "system": "Linux",
    "versions": "numpy 2.0",
    "blas": "numpy Zen",
    "date": "2000-01-01",
}


def figures(table, cell, factor):
    """What a table's measurement returns, had fastem taken 0.01 s and each peer ``factor`` that."""
    own, theirs = 0.01, 0.01 * factor
    row = {**cell._asdict(), "shape_name": cell.shape_name, "others_load": 0.0}
    if table.startswith("kmeans"):
        fit = {"times": [1.0] * 3, "others_load": 0.0, "n_iter": 7, "inertia": 2.0}
        row["fits"] = {
            "fastem": {**fit, "seconds": own},
            "lloyd": {**fit, "seconds": theirs},
            "elkan": {**fit, "seconds": 2 * theirs},
        }
    elif table == "texts":
        peers = {"K-means": ("lloyd", "elkan"), "k-means++": ("sklearn",)}
        names = peers.get(cell.kind, ("products",))
        row["seconds"] = {"fastem": own} | {name: (i + 1) * theirs for i, name in enumerate(names)}
        row |= {"repeats": 3, "check": "as it should be"}
        if cell.kind == "K-means":
            row["memory"] = {"added": 2e6, "rows": 1e7, "centers": 5e5}
    elif table == "gaussian":
        row["iterations"] = {"fastem": own, "sklearn": theirs, "mlpack": 3 * theirs}
        row["fits"] = {"fastem": own, "sklearn": 2 * theirs}
    elif table == "kmedians":
        row["seconds"] = {"fastem": own, "numpy": theirs, "pyclustering": 5 * theirs}
        row["seconds"] |= {"fastem, first": own, "numpy, first": theirs / 2}
        row |= {"n_iter": 9, "timed_iterations": 6, "repeats": 3}
        row |= {"relative_inertia": 1.0, "same_centers": True}
    elif table == "bernoulli":
        row["seconds"] = {"fastem": own, "numpy": theirs, "stepmix": 4 * theirs}
    elif table == "seeding":
        row |= {"seconds": {"fastem": own, "sklearn": theirs}, "repeats": 3, "same_picks": 8}
    elif table == "silhouette":
        row |= {"seconds": {"fastem": own, "sklearn": theirs}, "least": own / 2, "repeats": 3}
        row["difference"] = 1e-15
    elif table == "roofline":
        row |= {"unit": cell.dtype, "seconds": own, "flops": 1e7, "bytes": 1e6}
        row |= {"matmul_peak": 3e9, "loop_peak": 4e9, "bandwidth": 1e9}
    elif table == "places":
        row |= {"seconds": {"memory": own, "there": theirs}, "bytes": 1234.0}
    elif table == "overheads":
        row["figure"] = 1e3 * own
    elif table == "published":
        row |= {"memory": own, "ranks": theirs}
    elif table == "starts":
        row |= {"kind": cell.kind, "log_likelihoods": {}, "seconds": {}}
        for number, start in enumerate(STARTS):
            row["log_likelihoods"][start] = [2.0, 2.0 - 0.01 * number]
            row["seconds"][start] = own if number == 0 else theirs
    elif table.startswith("search"):
        row |= {"size": [1000, 2, 64], "seeds": 2, "timed_seeds": 2}
        row["inertias"] = {"one fit": [10.0, 12.0], "breathing": [10.0, 10.0]}
        row["seconds"] = {"one fit": own, "breathing": theirs}
        if table == "search-kmeans":
            row["inertias"]["scikit-learn, n_init=10"] = [10.5, 10.5]
            row["seconds"]["scikit-learn, n_init=10"] = 10 * theirs
    else:
        row["seconds"] = own
    return row


def made_up(table, cells=None, factors=(4.0, 9.0)):
    """A report with the factors in turn."""
    cells = TABLES[table].all_cells() if cells is None else cells
    rows = [figures(table, cell, factors[i % len(factors)]) for i, cell in enumerate(cells)]
    return {"machines": [MACHINE], "cells": rows}


def kmeans_cells(*names):
    return [cell for cell in data.all_cells() if cell.shape_name in names]


# Figures in words


@pytest.mark.parametrize(
    "value, expected",
    [
        (12345.6, "12,346"),
        (123.4, "123"),
        (12.34, "12.3"),
        (0.01234, "0.0123"),
        (1.0, "1.00"),
        (0.0, "0"),
    ],
)
def test_digits(value, expected):
    assert text.digits(value) == expected


def test_seconds_name_their_unit_and_mark_a_busy_machine():
    assert text.seconds(1.5) == "1.50 s"
    assert text.seconds(0.0123) == "12.3 ms"
    assert text.seconds(0.0123, busy=True) == "12.3 ms~"


def test_ratios_are_summed_up_by_geometric_mean_and_worst():
    ratios = {"one": 2.0, "two": 8.0}
    assert text.of_ratios("all", ratios) == (
        "all: geometric mean 4.00× over 2 cells, worst 2.00× (one)"
    )


def test_markdown_has_a_line_for_each_row():
    table = text.markdown([("name", "left"), ("size", "right")], [["a", "1"], ["b", "2"]])
    assert table.splitlines() == ["| name | size |", "| --- | ---: |", "| a | 1 |", "| b | 2 |"]


def test_span():
    assert text.span([3, 3]) == "3"
    assert text.span(iter([3, 50, 7])) == "3 to 50"


# Tables


@pytest.mark.parametrize("name", TABLES)
def test_every_table_is_shown(name):
    table, rows = TABLES[name], made_up(name)["cells"]
    head, _, *lines = table.markdown(rows).splitlines()
    assert lines and {line.count("|") for line in lines} == {head.count("|")}
    for row in rows:
        assert row["shape_name"].replace("-", " ") in table.line(row).replace("-", " ")


COMPARED = [name for name, table in TABLES.items() if table.in_readme]
MEASURED = (
    "Some CPU, Linux, 3 threads of 4 CPUs; numpy 2.0; code of OpenBLAS: numpy Zen; 2000-01-01."
)


@pytest.mark.parametrize("name", COMPARED)
def test_tables_tell_ratios_and_the_machine(name):
    shown = full_table(TABLES[name], made_up(name, factors=(4.0,)))
    assert "**4.0**" in shown
    assert "geometric mean 4.00×" in shown
    assert MEASURED in shown
    assert f"<!-- table:{name} -->" in (files.DOCS / TABLES[name].page).read_text()


def test_silhouettes_tell_what_the_machine_would_allow():
    shown = full_table(TABLES["silhouette"], made_up("silhouette", factors=(4.0,)))
    assert "| **4.0** | 8.0 | 1e-15 |" in shown and MEASURED in shown
    assert "<!-- table:silhouette -->" in (files.DOCS / "performance.md").read_text()


def test_texts_tell_the_fastest_of_the_others_and_memory():
    table, made = TABLES["texts"], made_up("texts", factors=(4.0, 9.0))
    shown = full_table(table, made)
    assert (
        "| K-means | 20,000 | 8,000 | 46 | 10 | 10.0 ms | 40.0 ms lloyd | **4.0** "
        "| 2.0 beside 10 + 0.50 MB | 10.0 ms | 90.0 ms lloyd | **9.0** | 2.0 beside 10 + 0.50 MB |"
    ) in shown
    assert "| 10.0 ms | 40.0 ms sklearn | **4.0** |  | 10.0 ms | 90.0 ms sklearn |" in shown
    assert "|  |  |  |  | 10.0 ms | 40.0 ms products | **4.0** |  |" in shown
    assert "K-means, float64: geometric mean 9.00× over 8 cells" in shown
    assert "Bernoulli mixture, float64: geometric mean 5.24× over 3 cells" in shown
    assert MEASURED in shown
    assert "<!-- table:texts -->" in (files.DOCS / table.page).read_text()
    points = table.speed_ups(made["cells"])
    assert len(points) == len(made["cells"])
    assert {table.library(point.peer) for point in points} == {"scikit-learn", "SciPy"}


@pytest.mark.parametrize("kind", ["K-means", "k-means++", "Bernoulli mixture"])
def test_texts_are_measured(kind, monkeypatch):
    """With the same result as the others have, and what it adds to the memory."""
    table = TABLES["texts"]
    cell = next(c for c in table.all_cells() if (c.kind, c.dtype) == (kind, "float64"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    row = table.measure(cell._replace(rows=600, clusters=4), parse(["--repeats", "1"]))
    peers = {"K-means": {"lloyd", "elkan"}, "k-means++": {"sklearn"}}
    assert set(row["seconds"]) == {"fastem", *peers.get(kind, {"products"})}
    assert min(row["seconds"].values()) > 0
    if kind == "K-means":
        assert abs(float(row["check"].removeprefix("inertia "))) < 1e-9
        assert row["memory"]["centers"] == 8 * 4 * 8000
        assert 600 * 8 * 12 < row["memory"]["rows"] < 600 * 80 * 12
        assert 0 <= row["memory"]["added"] < 1e8
    elif kind == "k-means++":
        assert row["check"] == "4 of 4 picks are the same"
    else:
        assert float(row["check"].split()[2]) < 1e-9


def test_the_fastest_of_the_others_counts():
    point = SpeedUp("1M,2,8", "float64", {"one": 9.0, "two": 4.0, "three": 6.0})
    assert (point.peer, point.ratio) == ("two", 4.0)


@pytest.mark.parametrize("name", COMPARED)
def test_every_cell_is_held_against_its_fastest_peer(name):
    table, rows = TABLES[name], made_up(name)["cells"]
    points = table.speed_ups(rows)
    assert len(points) == len(rows)
    # Made up so that the first peer is the fastest, and takes these times as long as fastem.
    assert [point.ratio for point in points] == pytest.approx(
        [(4.0, 9.0)[i % 2] for i in range(len(rows))]
    )
    counted = re.findall(r"over (\d+) cells", " ".join(table.against_the_fastest(rows)))
    assert sum(map(int, counted)) == len(rows)


def test_a_mixture_is_held_against_the_fastest_library_and_not_scikit_learn_alone():
    made = made_up("gaussian", TABLES["gaussian"].all_cells()[:1])
    made["cells"][0]["iterations"] |= {"oneDAL": 0.025, "unskipped": 0.001}
    (point,) = TABLES["gaussian"].speed_ups(made["cells"])
    assert (point.peer, point.ratio) == ("oneDAL", pytest.approx(2.5))
    assert TABLES["gaussian"].library("oneDAL") == "scikit-learn-intelex"


def test_the_speed_table_has_a_line_for_each_table():
    compared = {TABLES[name]: made_up(name) for name in COMPARED}
    head, _, *lines = speed_table(compared).splitlines()
    lines, (_, measured) = lines[: len(COMPARED)], lines[len(COMPARED) :]
    assert {line.count("|") for line in lines} == {head.count("|")}
    assert lines[0] == (
        "| K-means, whole fits | scikit-learn | 24 | **4.0** | 4.0 | 24 | **9.0** | 9.0 |"
    )
    assert measured.endswith(MEASURED) and measured.count("Some CPU") == 1
    assert "<!-- table:speed -->" in files.README.read_text()


def test_kmeans_takes_the_fastest_peer_and_leaves_unmeasured_cells_empty():
    cells = [cell for cell in kmeans_cells("1M,2,8") if cell.kind == "uniform"][:1]
    made = made_up("kmeans", cells)
    made["cells"][0]["fits"]["elkan"]["seconds"] = 0.02
    assert fastest_peer(made["cells"][0]) == "elkan"
    line = TABLES["kmeans"].markdown(made["cells"]).splitlines()[-1]
    assert line == ("| 1,000,000 | 2 | 8 | uniform | 10.0 ms | 20.0 ms elkan | **2.0** |  |  |  |")


def test_searches_are_held_against_the_least_inertia_and_a_single_fit():
    table = TABLES["search-kmeans"]
    rows = made_up("search-kmeans", table.all_cells()[:2], factors=(4.0, 9.0))["cells"]
    rows[1]["inertias"]["breathing"] = [10.0, 10.4]
    head, _, first, second, mean, worst = table.markdown(rows).splitlines()
    assert head.endswith("| one fit | breathing | scikit-learn, n_init=10 |")
    size = "1,000 × 2, 64"
    assert first.endswith(f"{size} | 10.00 %, 10.0 ms | 0.00 %, 4.0× | 5.00 %, 40.0× |")
    assert second.endswith(f"{size} | 10.00 %, 10.0 ms | 2.00 %, 9.0× | 5.00 %, 90.0× |")
    assert mean.endswith("| **10.00 %, 1.0×** | **1.00 %, 6.0×** | **5.00 %, 60.0×** |")
    assert worst.endswith("| 10.00 % | 2.00 % | 5.00 % |")
    assert table.summary(rows)[1] == (
        "64 clusters and more, breathing: 1.00 % above the least found, at worst 2.00 %, in 6.0 "
        "times a single fit's time"
    )
    rows[1]["size"][2] = 8
    assert "breathing: 0.00 %" in table.summary(rows)[1]


def test_searches_are_measured(monkeypatch):
    table = TABLES["search-kmeans"]
    monkeypatch.setitem(SETS, "wine", (lambda: np.arange(24.0).reshape(12, 2) ** 2, 3))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (cell,) = [cell for cell in table.all_cells() if cell.kind == "wine"]
    row = table.measure(cell, parse(["--repeats", "2"]))
    assert list(row["inertias"]) == ["one fit", "n_init=10", "breathing", "patient-breathing"]
    assert row["size"] == [12, 2, 3] and row["seeds"] == 2
    one, searched = row["inertias"]["one fit"], row["inertias"]["breathing"]
    assert len(one) == 2 and all(s <= o for s, o in zip(searched, one, strict=True))
    assert min(row["seconds"].values()) > 0


def test_starts_are_held_against_the_best_and_the_default():
    table = TABLES["starts"]
    rows = made_up("starts")["cells"]
    head, _, *lines = table.markdown(rows).splitlines()
    assert len(lines) == len(STARTS) and "| long, side by side (9) |" in head
    # The n-th start ends 5 n thousandths below the best, and takes 4 and 9 times as long.
    assert lines[0].endswith("| 0 | 0 | **0** | 0 | 1.0× |")
    assert lines[3].endswith("| 15 | 15 | **15** | 0 | 6.0× |")
    for row in rows[:2]:
        row["log_likelihoods"][AUTO] = [1.9, 1.9]
    assert f"| **{(2 * 100 + 36 * 15) / 38:.0f}** | 2 |" in table.markdown(rows)
    names = f"{rows[0]['name']} (100), {rows[1]['name']} (100)"
    assert table.summary(rows) == [f"{AUTO} ends more than 20 below on 2 of 38: {names}"]


def test_starts_are_measured():
    table = TABLES["starts"]
    (cell,) = [cell for cell in table.all_cells() if cell.name == "3 stripes, 0"]
    row = table.measure(cell, parse(["--repeats", "1"]))
    assert (row["kind"], list(row["log_likelihoods"])) == ("long, side by side", list(STARTS))
    (default, *_), (auto,) = row["log_likelihoods"].values(), row["log_likelihoods"][AUTO]
    assert auto > default[0] + 0.1  # K-means cuts long clusters across
    assert min(row["seconds"].values()) > 0


def test_a_busy_machine_is_said():
    made = made_up("seeding")
    assert "~" not in full_table(TABLES["seeding"], made)
    made["cells"][0]["others_load"] = 0.5
    shown = full_table(TABLES["seeding"], made)
    assert "10.0 ms~" in shown and "~: other processes" in shown


@pytest.mark.parametrize("name", TABLES)
def test_cells_are_chosen(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # all is installed
    table = TABLES[name]
    full, short, quick = (table.choose(parse(argv)) for argv in (["--full"], [], ["--quick"]))
    assert full == table.all_cells()
    assert set(short) <= set(full)
    assert 0 < len(quick) <= len(short or full)
    assert sum(cell.rows for cell in quick) < sum(cell.rows for cell in short or full)


def test_cells_are_chosen_by_name():
    options = parse(["--cells", "1M,2,8", "image,3,16", "--dtype", "float32"])
    chosen = [(cell.shape_name, cell.kind) for cell in TABLES["kmeans"].choose(options)]
    assert chosen == [
        ("1M,2,8", "separated"),
        ("1M,2,8", "overlapping"),
        ("1M,2,8", "uniform"),
        ("image,3,16", "image"),
    ]
    assert TABLES["bernoulli"].choose(options) == []


# Peers


def test_missing_peers_are_named_and_left_out(monkeypatch, capsys):
    class Small(type(TABLES["kmeans"])):
        def choose(self, options):
            return [data.Cell(300, 2, 3, "overlapping", "float64")]

    monkeypatch.setitem(
        peers.PEERS, "mlpack", peers.PEERS["mlpack"]._replace(distribution="not-there")
    )
    options = parse(["--peers", "lloyd", "mlpack", "--repeats", "1"])
    reports, failed = report.run([Small()], options)
    assert failed == 0
    (row,) = reports["kmeans"]["cells"]
    assert set(row["fits"]) == {"fastem", "lloyd"}
    assert row["fits"]["fastem"]["n_iter"] == row["fits"]["lloyd"]["n_iter"]
    printed = capsys.readouterr()
    assert "kmeans: mlpack: not-there is not installed, left out" in printed.err
    assert "300,2,3" in printed.out and "same" in printed.out


@pytest.mark.parametrize("name", ["gaussian", "kmedians", "bernoulli"])
def test_every_table_names_its_missing_peers(name, monkeypatch):
    def absent(distribution):
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", absent)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    table = TABLES[name]
    missing = table.missing([peer for peer in table.peers if peer != "numpy"])
    assert len(missing) == len(table.peers) - ("numpy" in table.peers)
    assert all("is not installed" in message for message in missing)


# Files


def test_a_page_changes_between_the_markers_only(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table:x -->\nold\n<!-- /table:x -->\nb\n")
    files.write_table(page, "x", "new")
    assert page.read_text() == "a\n<!-- table:x -->\nnew\n<!-- /table:x -->\nb\n"
    with pytest.raises(SystemExit, match="no markers <!-- table:y -->"):
        files.write_table(page, "y", "new")


def test_saved_reports_are_loaded(tmp_path):
    reports = {name: made_up(name) for name in ("kmeans", "scaling")}
    files.save(tmp_path / "saved.json", reports)
    assert [path.name for path in tmp_path.iterdir()] == ["saved.json"]
    assert files.load([tmp_path / "saved.json"], TABLES, "gaussian") == reports


def test_saved_parts_of_a_table_are_joined(tmp_path):
    """In the table's order, with the last figures of a cell measured twice."""
    whole = made_up("kmeans", kmeans_cells("1M,2,8"), factors=(5.0,))
    later = made_up("kmeans", kmeans_cells("1M,2,8")[1:2], factors=(3.0,))
    later["machines"] = [{**MACHINE, "date": "2000-01-02"}]
    parts = [
        {**whole, "cells": whole["cells"][3:]},
        {**whole, "cells": whole["cells"][:3]},
        later,
    ]
    paths = [tmp_path / f"{number}.json" for number in range(3)]
    for path, part in zip(paths, parts, strict=True):
        files.save(path, {"kmeans": part})
    joined = files.load(paths, TABLES, "kmeans")["kmeans"]
    expected = [whole["cells"][0], later["cells"][0], *whole["cells"][2:]]
    assert joined["cells"] == expected
    shown = full_table(TABLES["kmeans"], joined)
    assert shown.count("Some CPU") == 1 and shown.endswith("; 2000-01-01, 2000-01-02.")
    joined["machines"][1]["cpu"] = "Another CPU"
    shown = full_table(TABLES["kmeans"], joined)
    assert "2000-01-01; and on Another CPU" in shown and shown.endswith("; 2000-01-02.")


def test_a_cell_that_fails_costs_no_other(tmp_path, capsys):
    class Fragile(type(TABLES["seeding"])):
        def choose(self, options):
            return self.all_cells()[:3]

        def measure(self, cell, options):
            if cell.dtype == "float64":
                raise ValueError("not this one")
            return figures("seeding", cell, 4.0)

    options = parse(["--save", str(tmp_path / "saved.json")])
    reports, failed = report.run([Fragile()], options)
    assert failed == 1
    assert [row["dtype"] for row in reports["seeding"]["cells"]] == ["float32", "float32"]
    assert "seeding 1M,2,8 float64: ValueError: not this one" in capsys.readouterr().err
    assert files.load([tmp_path / "saved.json"], TABLES, "") == reports


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Pages of markers alone: the README and that of all tables."""
    readme, page = tmp_path / "README.md", tmp_path / "performance.md"
    readme.write_text("<!-- table:speed --><!-- /table:speed -->\n")
    for each in {table.page for table in TABLES.values()} - {None}:
        names = [name for name, table in TABLES.items() if table.page == each]
        markers = "".join(f"<!-- table:{name} --><!-- /table:{name} -->\n" for name in names)
        (tmp_path / each).write_text(markers)
    monkeypatch.setattr(files, "README", readme)
    monkeypatch.setattr(files, "DOCS", tmp_path)
    return readme, page


def test_all_tables_go_to_their_page_and_to_the_readme(tmp_path, pages):
    readme, page = pages
    saved = tmp_path / "all.json"
    files.save(saved, {name: made_up(name, factors=(4.0,)) for name in TABLES})
    assert report.main(["--load", str(saved), "--write-docs"]) == 0
    assert page.read_text().count("geometric mean") >= len(COMPARED)
    for name in COMPARED:
        assert f"| {TABLES[name].title} |" in readme.read_text()


def test_a_saved_table_without_a_name_goes_to_its_page(tmp_path, pages, capsys):
    readme, page = pages
    before, saved = readme.read_text(), tmp_path / "kmeans.json"
    made = made_up("kmeans", kmeans_cells("50k,784,10"))
    saved.write_text(json.dumps({"machine": MACHINE, "cells": made["cells"]}))
    assert report.main(["--table", "kmeans", "--load", str(saved), "--write-docs"]) == 0
    assert "| 50,000 | 784 | 10 | separated | 10.0 ms | 40.0 ms lloyd |" in page.read_text()
    assert "geometric mean" in (printed := capsys.readouterr().out)
    assert "needs texts, gaussian, kmedians, bernoulli, seeding" in printed
    assert readme.read_text() == before


def test_another_cpu_has_what_the_tables_come_to(tmp_path, pages):
    readme, page = pages
    page.write_text(f"{page.read_text()}<!-- table:other-cpu --><!-- /table:other-cpu -->\n")
    before, saved = page.read_text(), tmp_path / "some.json"
    some = ("gaussian", "kmeans-many", "scaling", "places")
    files.save(saved, {name: made_up(name, factors=(4.0,)) for name in some})
    assert report.main(["--load", str(saved), "--write-other"]) == 0
    head, _, shown = page.read_text().partition("<!-- table:other-cpu -->")
    assert before.startswith(head)
    lines = shown.splitlines()
    assert any(line.startswith("- Gaussian mixtures, EM iterations: ") for line in lines)
    assert "- K-means, many clusters and features: float32: geometric mean 4.00" in shown
    assert lines[-2].startswith("Measured on Some CPU")
    assert lines[-3] == "" and all(line.startswith("- ") for line in lines[1:-3])
    assert "Some CPU" not in readme.read_text()
    written = page.read_text()
    files.save(saved, {"places": made_up("places")})
    assert report.main(["--load", str(saved), "--write-other"]) == 0
    assert page.read_text() == written


@pytest.mark.parametrize("where", ["--write-docs", "--write-other"])
def test_quick_figures_never_reach_the_pages(where, capsys):
    with pytest.raises(SystemExit):
        parse(["--quick", where])
    assert "--quick makes no figures" in capsys.readouterr().err


# Plots


def test_plots_are_drawn(tmp_path, capsys):
    saved = tmp_path / "all.json"
    cells = {"kmeans": kmeans_cells("1M,2,8"), "bernoulli": None, "roofline": None, "scaling": None}
    cells |= {"search-kmeans": None, "search-kmedians": None}
    files.save(saved, {name: made_up(name, chosen) for name, chosen in cells.items()})
    assert report.main(["--load", str(saved), "--plots", str(tmp_path)]) == 0
    for name in ("speed-ups", "roofline", "scaling", "search-kmeans", "search-kmedians"):
        picture = plt.imread(tmp_path / f"{name}.png")
        assert min(picture.shape[:2]) > 200
        assert np.ptp(picture) > 0.5


def test_no_share_of_the_limits_is_above_one():
    """The loop's peak is 4 GFLOP/s here: what reaches more is the limit itself."""
    rows = made_up("roofline")["cells"]
    rows[0] |= {"flops": 8e7, "bytes": 1.0}
    rows[1] |= {"flops": 0.0, "bytes": 3e7}
    found = limits(rows)
    shares = [found[row["unit"]].share(row) for row in rows]
    assert max(shares) == pytest.approx(1) and shares[0] == shares[1] == max(shares)
    assert found[rows[0]["unit"]] == pytest.approx((8e9, 3e9))


def test_labels_lie_over_no_other_and_no_point():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.uniform(0, 300, (8, 2)), 100 + rng.normal(0, 1, (6, 2))])
    labels = points + spread(points, size=9)
    gaps = np.linalg.norm(labels[:, np.newaxis] - np.concatenate([labels, points]), axis=2)
    np.fill_diagonal(gaps, np.inf)
    assert gaps.min() > 7
    assert np.linalg.norm(labels - points, axis=1).max() <= 36


def test_only_what_was_measured_is_drawn(tmp_path):
    drawn = report.plots.draw({"seeding": made_up("seeding")}, TABLES, tmp_path)
    assert drawn == [tmp_path / "speed-ups.png"]


def test_repeats_depend_on_the_run():
    assert [parse(argv).repeats for argv in ([], ["--full"], ["--quick"])] == [3, None, 1]
