"""What the seeders share that compare all rows with the candidates, chunk by chunk."""

from abc import ABC, abstractmethod

import numpy as np

from fastem.kernels.runtime.arrays import as_weights


class ChunkedSeeder(ABC):
    """Each row's distance to the nearest of the seeds so far.

    Points are given as rows of the data. The potential is the weighted sum of the distances.

    Parameters
    ----------
    n_rows : int
    sample_weight : None or ndarray of shape (n_rows,), float64
    chunk_rows, n_chunks : int
        How the rows are split.
    dtype : dtype
        Of the distances.
    """

    def __init__(self, n_rows, sample_weight, chunk_rows, n_chunks, dtype):
        self._weight = as_weights(sample_weight)
        self._chunk_rows, self._n_chunks = chunk_rows, n_chunks
        self._closest = np.full(n_rows, np.inf, dtype)

    def add(self, point):
        """Make a row a seed; returns the potential afterwards."""
        self._ends = np.cumsum(self._compare(point[np.newaxis], True)[0])
        return float(self._ends[-1])

    def screen(self, candidates):
        """Bounds on how much the potential would fall if a candidate were the next seed: none."""
        self._points = candidates
        return np.array([np.zeros(len(candidates)), np.full(len(candidates), np.inf)])

    def try_candidates(self, kept):
        """The potential that each candidate would leave if it were the next seed.

        Parameters
        ----------
        kept : ndarray of shape (n_kept,), int
            Which of those just screened.

        Returns
        -------
        ndarray of shape (n_kept,), float64
        """
        self._kept = kept
        return np.cumsum(self._compare(self._points[kept], False), axis=1)[:, -1]

    def accept(self, index):
        """Make one of the candidates just tried a seed; returns the potential afterwards."""
        return self.add(self._points[self._kept[index]])

    def locate(self, values):
        """The first rows up to which the weighted distances sum to at least the values.

        Parameters
        ----------
        values : ndarray of shape (n_values,)

        Returns
        -------
        ndarray of shape (n_values,), int
        """
        chunks = np.minimum(np.searchsorted(self._ends, values), self._n_chunks - 1)
        found = np.empty(len(values), int)
        for i, (chunk, value) in enumerate(zip(chunks, values, strict=True)):
            rows = slice(chunk * self._chunk_rows, (chunk + 1) * self._chunk_rows)
            distances = self._closest[rows].astype(np.float64)
            if len(self._weight):
                distances *= self._weight[rows]
            cumulated = np.cumsum(distances)
            before = self._ends[chunk - 1] if chunk > 0 else 0.0
            # What rounding has lost is looked for at the chunk's end.
            wanted = min(value - before, cumulated[-1])
            found[i] = rows.start + np.searchsorted(cumulated, wanted)
        return found

    @abstractmethod
    def _compare(self, points, settle):
        """Each chunk's potential if a point were a seed, (n_points, n_chunks).

        With ``settle`` the first point becomes one.
        """
