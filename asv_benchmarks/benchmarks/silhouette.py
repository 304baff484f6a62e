"""Silhouettes, beside scikit-learn's."""

import numpy as np

from . import data, measure


class Silhouette:
    params = (
        measure.some([(20_000, 16, 10), (50_000, 64, 20)]),
        measure.some(data.DTYPES[::-1]),
    )
    param_names = ("shape", "dtype")
    timeout = 600

    def setup(self, shape, dtype):
        measure.pin_threads()
        n_rows = measure.fewer(shape[0])
        self.X = data.make_rows(data.Cell(n_rows, *shape[1:], "overlapping", dtype))
        self.labels = np.random.default_rng(0).integers(shape[2], size=n_rows)
        self.time_fastem(shape, dtype)  # compiles

    def time_fastem(self, shape, dtype):
        from fastem import silhouette_samples

        return silhouette_samples(self.X, self.labels)

    def track_ratio_to_sklearn(self, shape, dtype):
        from sklearn.metrics import silhouette_samples

        with measure.threads():
            timed = measure.in_turns(
                {
                    "sklearn": lambda: silhouette_samples(self.X, self.labels),
                    "fastem": lambda: self.time_fastem(shape, dtype),
                }
            )
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        return seconds["sklearn"] / seconds["fastem"]

    track_ratio_to_sklearn.unit = "x"


class SimplifiedSilhouette:
    params = measure.some(data.DTYPES[::-1])
    param_names = ("dtype",)

    def setup(self, dtype):
        measure.pin_threads()
        n_rows = measure.fewer(200_000)
        self.X = data.make_rows(data.Cell(n_rows, 16, 10, "overlapping", dtype))
        self.centers = data.starting_centers(self.X, 10)
        self.time_fastem(dtype)  # compiles

    def time_fastem(self, dtype):
        from fastem import simplified_silhouette_samples

        return simplified_silhouette_samples(self.X, self.centers)
