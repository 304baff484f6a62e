"""Greedy k-means++ against scikit-learn's, from the same random stream."""

from . import data, measure


class KMeansPlusPlus:
    params = (
        [(100_000, 2, 8), (50_000, 16, 64), (20_000, 64, 100)],
        list(data.DTYPES),
    )
    param_names = ("shape", "dtype")
    timeout = 600

    def setup(self, shape, dtype):
        self.X = data.make_rows(data.Cell(*shape, "overlapping", dtype))
        self.time_fastem(shape, dtype)

    def time_fastem(self, shape, dtype):
        from fastem import kmeans_plusplus

        with measure.threads():
            return kmeans_plusplus(self.X, shape[2], random_state=0)

    def track_ratio_to_sklearn(self, shape, dtype):
        from sklearn.cluster import kmeans_plusplus

        with measure.threads():
            timed = measure.in_turns(
                {
                    "sklearn": lambda: kmeans_plusplus(self.X, shape[2], random_state=0),
                    "fastem": lambda: self.time_fastem(shape, dtype),
                }
            )
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        return seconds["sklearn"] / seconds["fastem"]

    track_ratio_to_sklearn.unit = "x"


class KMeansPlusPlusFull(KMeansPlusPlus):
    """The published shapes. Chosen by `--bench Full`."""

    params = (list(data.SHAPES), KMeansPlusPlus.params[1])
    timeout = 3600
