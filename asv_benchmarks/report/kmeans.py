"""K-means: fits from the same centres, to the same convergence or for as many iterations."""

from argparse import Namespace

from ..benchmarks import data, measure
from ..benchmarks.peers import MAX_ITER, PEERS, Fit, fit_fastem, inertia
from . import text
from .table import SpeedUp, Table

SHORT = ("1M,2,8", "500k,16,64", "50k,784,10", "image,3,64")
QUICK = ("1M,2,8", "image,3,64")
SHORT_KINDS = ("overlapping", "image", "embeddings")
COLUMNS = "{:>12} {:>11} {:>7} " + "{:>9} " * len(PEERS) + "{:>9} {:>7} {:>11} {}"


class KMeans(Table):
    """The fastest of the peers counts.

    Parameters
    ----------
    name, title : str
    cells : None or list of Cell
        None for those that the README has a line of.
    short, quick : tuple of str
        The shapes of the short run and of the one that only shows that all runs.
    """

    peers = tuple(PEERS)
    seconds_a_cell = 20.0

    def __init__(
        self, name="kmeans", title="K-means, whole fits", cells=None, short=SHORT, quick=QUICK
    ):
        self.name, self.title = name, title
        self.in_readme = cells is None
        self._cells = data.all_cells() if cells is None else cells
        self._short, self._quick = short, quick

    def all_cells(self):
        return self._cells

    def is_short(self, cell):
        return cell.shape_name in self._short and cell.kind in SHORT_KINDS

    def is_quick(self, cell):
        return self.is_short(cell) and cell.shape_name in self._quick

    def shrink(self, cell):
        return cell._replace(rows=max(cell.rows // 20, 2 * cell.clusters))

    def missing(self, names):
        return [
            f"{name}: {PEERS[name].distribution} is not installed"
            for name in names
            if PEERS[name].version is None
        ]

    def measure(self, cell: data.Cell, options: Namespace) -> dict:
        X = data.make_rows(cell)[: cell.rows]
        init = data.starting_centers(X, cell.clusters)
        peers = [PEERS[name] for name in options.peers if name in PEERS]
        peers = [peer for peer in peers if peer.takes_part(X, cell.clusters)]
        runs, counts = {}, []
        most = data.MANY_SHAPES.get(cell[:3], MAX_ITER)
        for algorithm in options.algorithms:
            runs[fastem_name(algorithm)] = lambda name=algorithm: fit_fastem(X, init, name, most)
            # a whole fit to warm up, since which kernels are compiled depends on its course
            counts.append(fit_fastem(X, init, algorithm, most).n_iter)
        if any(peer.wants_n_iter for peer in peers):
            counts.append(PEERS["lloyd"].fit(X, init, most, most).n_iter)
        for peer in peers:
            peer.fit(X[: 2 * cell.clusters], init, 2)  # loads the library and starts its threads
            runs[peer.name] = lambda fit=peer.fit: fit(X, init, min(counts), most)
        load = measure.OthersLoad()
        timed = measure.in_turns(runs, options.repeats, measure.PAUSE)
        others = round(load.share(), 3)
        figures = {}
        for name, (times, fit) in timed.items():
            assert isinstance(fit, Fit)
            figures[name] = {
                "seconds": measure.median(times),
                "times": times,
                "others_load": others,
                "n_iter": int(fit.n_iter),
                "inertia": inertia(X, fit.centers),
            }
        return {**cell._asdict(), "shape_name": cell.shape_name, "fits": figures}

    def header(self):
        columns = ("shape", "kind", "dtype", *PEERS, "fastem", "ratio", "iterations", "check")
        return f"{self.title}, seconds\n{COLUMNS.format(*columns)}"

    def line(self, row):
        fits = row["fits"]
        mine, faster = own(row), ratio(row)
        iterations = [fits[name]["n_iter"] for name in ("lloyd", mine) if name in fits]
        others = [name for name in fits if name.startswith("fastem") and name != mine]
        return COLUMNS.format(
            row["shape_name"],
            row["kind"],
            row["dtype"],
            *(plain_seconds(fits.get(name)) for name in PEERS),
            plain_seconds(fits.get(mine)),
            "" if faster is None else f"{faster:.2f}x",
            "/".join(map(str, iterations)),
            " ".join([check(row), *(f"{name} {plain_seconds(fits[name])}" for name in others)]),
        )

    def summary(self, rows):
        lines = []
        for dtype in (*data.DTYPES, "both"):
            ratios = {
                f"{row['shape_name']} {row['kind']} {row['dtype']}": ratio(row)
                for row in rows
                if dtype in ("both", row["dtype"]) and ratio(row) is not None
            }
            if ratios:
                lines.append(text.of_ratios(dtype, ratios))
        return lines

    def markdown(self, rows):
        columns = [("rows", "right"), ("features", "right"), ("clusters", "right")]
        columns += [("data", "left"), ("float32: fastem", "right"), ("fastest peer", "left")]
        columns += [("ratio", "right"), ("float64: fastem", "right"), ("fastest peer", "left")]
        grouped: dict[tuple, dict[str, dict]] = {}
        for row in rows:
            key = (row["rows"], row["features"], row["clusters"], row["kind"])
            grouped.setdefault(key, {})[row["dtype"]] = row
        lines = []
        for (n_rows, n_features, n_clusters, kind), by_dtype in grouped.items():
            parts = [f"{n_rows:,}", str(n_features), str(n_clusters), kind]
            for dtype in data.DTYPES:
                parts += self._parts(by_dtype.get(dtype))
            lines.append(parts)
        return text.markdown([*columns, ("ratio", "right")], lines)

    @staticmethod
    def _parts(row):
        if row is None or ratio(row) is None:
            return ["", "", ""]
        mine, peer = row["fits"][own(row)], fastest_peer(row)
        theirs = row["fits"][peer]
        return [
            text.seconds(mine["seconds"], mine["others_load"] > text.BUSY),
            f"{text.seconds(theirs['seconds'], theirs['others_load'] > text.BUSY)} {peer}",
            f"**{text.times(ratio(row))}**",
        ]

    def caption(self, rows):
        repeats = [len(row["fits"][own(row)]["times"]) for row in rows if own(row)]
        return (
            f"Each time is the median of {text.span(repeats)} fits. *lloyd* and *elkan* are "
            "scikit-learn's, *sklearnex* is scikit-learn-intelex; FAISS computes in float32 only."
        )

    def speed_ups(self, rows):
        return [
            SpeedUp(
                f"{row['shape_name']} {row['kind']}",
                row["dtype"],
                {
                    name: fit["seconds"] / row["fits"][own(row)]["seconds"]
                    for name, fit in row["fits"].items()
                    if name in PEERS
                },
            )
            for row in rows
            if ratio(row) is not None
        ]

    def library(self, peer):
        return PEERS[peer].distribution


def fastem_name(algorithm: str) -> str:
    """Return the column's name of one of fastem's algorithms."""
    return "fastem" if algorithm == "auto" else f"fastem:{algorithm}"


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


def plain_seconds(figures: dict | None) -> str:
    """Return a fit's time in seconds, or nothing."""
    if figures is None:
        return ""
    return f"{figures['seconds']:#.3g}" + "~" * (figures["others_load"] > text.BUSY)
