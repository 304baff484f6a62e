"""Whole K-means fits from given centres: their time, and their ratio to the fastest peer's."""

from . import data, measure
from .peers import MAX_ITER, PEERS, fit_fastem, inertia

SHAPES = ("1M,2,8", "500k,16,64", "200k,64,100", "50k,784,10", "image,3,64")
CELLS = {f"{cell.shape_name} {cell.kind} {cell.dtype}": cell for cell in data.all_cells()}


class KMeansFit:
    """A twentieth of the published rows: quick enough for every commit."""

    shrink = 20
    repeats = 3
    params = measure.some(
        name
        for name, cell in CELLS.items()
        if cell.shape_name in SHAPES and cell.kind in ("overlapping", "image")
    )
    param_names = ("cell",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        cell = CELLS[name]
        cell = cell._replace(rows=max(measure.fewer(cell.rows // self.shrink), 2 * cell.clusters))
        self.X = data.make_rows(cell)[: cell.rows]
        self.init = data.starting_centers(self.X, cell.clusters)
        self.time_fit(name)  # compiles what this fit needs

    def time_fit(self, name):
        return fit_fastem(self.X, self.init)

    def _peer_fits(self):
        """Return a function for each peer that fits it."""
        lloyd = PEERS["lloyd"].fit(self.X, self.init, MAX_ITER)
        n_iter = min(lloyd.n_iter, fit_fastem(self.X, self.init).n_iter)
        return {
            peer.name: lambda fit=peer.fit: fit(self.X, self.init, n_iter)
            for peer in PEERS.values()
            if peer.takes_part(self.X, len(self.init))
        }

    def track_ratio_to_fastest_peer(self, name):
        with measure.threads():
            runs = {**self._peer_fits(), "fastem": lambda: fit_fastem(self.X, self.init)}
            for run in runs.values():
                run()
            timed = measure.in_turns(runs, self.repeats, measure.PAUSE)
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        ours = seconds.pop("fastem")
        return min(seconds.values()) / ours

    def track_relative_inertia(self, name):
        """Return the inertia over scikit-learn's: no speed shall be bought with worse answers."""
        ours = inertia(self.X, self.time_fit(name).centers)
        theirs = inertia(self.X, PEERS["lloyd"].fit(self.X, self.init, MAX_ITER).centers)
        return ours / theirs

    track_ratio_to_fastest_peer.unit = "x"
    track_relative_inertia.unit = "x"


class KMeansFitFull(KMeansFit):
    """The published cells, whole: minutes each. Chosen by `--bench Full`."""

    shrink = 1
    repeats = None  # as many as it takes for a steady median
    params = list(CELLS)
    timeout = 3600
