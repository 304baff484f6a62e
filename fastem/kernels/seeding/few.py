"""Greedy k-means++ over few rows: a seed's candidates are drawn and compared in one call.

Between the passes over rows in several places lie some 60 microseconds of Python, more than they
take for some hundred rows.
"""

import numpy as np

from fastem.kernels.distances.direct_rows import pad_points
from fastem.kernels.runtime.compiling import kernel
from fastem.kernels.seeding.closest import Trial
from fastem.kernels.seeding.euclidean import EuclideanSeeder
from fastem.kernels.seeding.narrow import try_narrow
from fastem.kernels.seeding.tiled import find_rows
from fastem.kernels.seeding.wide import try_wide

# Of more values, a pass is worth several threads.
FEW_VALUES = 1 << 16


def _proposing(try_pass):
    @kernel
    def propose(
        accepted, n_seeds, values, tiles, X, scale, weight, last, seeds, margin, known, trial,
        candidates, ends, rows,
    ):  # fmt: skip
        """Make a candidate a seed, draw new ones, and compare all rows with these.

        Parameters
        ----------
        accepted : int
            The number of the candidate; -1 for none.
        n_seeds : int
            How many seeds there are with it.
        values : float64 array of shape (n_candidates,)
            The candidates are the first rows up to which the potential reaches these; if there are
            none, those given.
        tiles, X, scale, weight, last, margin, known
            As for ``wide.try_wide``; ``tiles`` are all, and ``last`` is brought up to date.
        seeds : array of at least n_seeds rows
            Those of the data; the last one is written.
        trial : Trial
            Of the candidates before; gets the new ones.
        candidates : array of shape (n_candidates, n_features)
            These, as rows of the data.
        ends : float64 array of shape (n_tiles,)
            The potential up to each tile's end.
        rows : int64 array of shape (n_candidates,)
            Gets the numbers of the rows drawn.
        """
        n_rows, n_features = X.shape
        n_tiles = len(tiles)
        tickets = np.zeros(1, np.int64)
        points, potentials, improved = trial
        if accepted >= 0:
            total = 0.0
            for t in range(n_tiles):
                total += potentials[accepted, t]
                ends[t] = total
                known.last_improved[t] = improved[accepted, t]
            for f in range(n_features):
                seeds[n_seeds - 1, f] = candidates[accepted, f]
                last[0, f] = last[1, f] = points[accepted, f]
        if len(values) > 0:
            homes, wanted = np.empty(len(values), np.int64), np.empty(len(values), np.int64)
            n_wanted = 0
            for i in range(len(values)):
                home = 0
                while home < n_tiles - 1 and ends[home] < values[i]:
                    home += 1
                homes[i] = wanted[n_wanted] = home
                new = True
                for j in range(n_wanted):
                    new &= wanted[j] != home
                n_wanted += new
            settled = Trial(points[:0], potentials[:0], improved[:0])
            try_pass(
                tickets, 1, n_wanted, wanted[:n_wanted], X, scale, weight, last, seeds[:n_seeds],
                margin, known, settled,
            )  # fmt: skip
            find_rows(values, homes, ends, known.closest, weight, n_rows, rows)
            for i in range(len(points)):
                row = rows[min(i, len(rows) - 1)]
                for f in range(n_features):
                    points[i, f] = X[row, f] * scale
                    candidates[min(i, len(rows) - 1), f] = X[row, f]
        tickets[0] = 0
        try_pass(
            tickets, 1, n_tiles, tiles, X, scale, weight, last, seeds[:n_seeds], margin, known,
            trial,
        )  # fmt: skip

    return propose


_NARROW, _WIDE = _proposing(try_narrow), _proposing(try_wide)


class FewRowsSeeder(EuclideanSeeder):
    """Of at most ``FEW_VALUES`` values: a step is one call."""

    def __init__(self, X, sample_weight, scale):
        super().__init__(X, sample_weight, scale)
        self._proposing = _WIDE if self._kernel is try_wide else _NARROW
        self._ends = np.zeros(len(self._tiles))

    def add(self, point):
        self.screen(point[np.newaxis])
        self._kept = np.zeros(1, np.intp)
        self._propose(-1, np.empty(0), self._points.copy(), np.zeros(1, np.int64))
        return self.accept(0)

    def draw(self, potential, n_seeds, n_candidates, random_state):
        """Draw seeds, as ``clustering.seeding.draw_greedily`` does step by step.

        Parameters
        ----------
        potential : float
            What the first seed has left.
        n_seeds : int
            How many to draw: the last ones, as rows aren't brought up to date with the very last.
        n_candidates : int
            For each of them.
        random_state : RandomState

        Returns
        -------
        ndarray of shape (n_seeds,), int
            The rows' numbers.
        """
        found, accepted = np.empty(n_seeds, int), -1
        self._seeds = np.resize(self._seeds, (self._n_seeds + n_seeds, self._seeds.shape[1]))
        candidates = np.zeros((n_candidates, self._seeds.shape[1]), self._rows.dtype)
        rows = np.zeros(n_candidates, np.int64)
        self.screen(candidates)
        for seed in range(n_seeds):
            values = random_state.uniform(size=n_candidates) * potential
            self._propose(accepted, values, candidates, rows)
            accepted = int(self._potentials.sum(axis=1).argmin())
            potential = float(self._potentials[accepted].sum())
            found[seed] = rows[accepted]
        return found

    def screen(self, candidates):
        bounds = super().screen(candidates)
        points = pad_points(self._points, self._scale, self._rows.dtype)
        self._trial = Trial(points, self._potentials, self._improved)
        return bounds

    def _propose(self, accepted, values, candidates, rows):
        self._n_seeds += accepted >= 0
        self._proposing(
            accepted,
            self._n_seeds,
            values,
            self._tiles,
            self._rows,
            self._scale,
            self._weight,
            self._last,
            self._seeds,
            self._margin,
            self._known,
            self._trial,
            candidates,
            self._ends,
            rows,
        )
