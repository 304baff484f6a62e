"""Every kind of start; greedy k-means++ against scikit-learn's, from the same random stream."""

from . import data, measure, models
from .models import Size

SIZE = Size(50_000, 16, 64)
STARTS = {
    f"{model} {init}": (model, {option: init})
    for model, option, inits in (
        ("KMeans", "init", ("k-means++", "k-means||", "random", "random_partition")),
        ("KMedians", "init", ("k-means++", "random")),
        ("GaussianMixture diag", "init_params", ("kmeans", "k-means++", "random")),
    )
    for init in inits
} | {"BernoulliMixture": ("BernoulliMixture", {})}


class KMeansPlusPlus:
    params = (
        measure.some([(100_000, 2, 8), (50_000, 16, 64), (20_000, 64, 100)]),
        measure.some(data.DTYPES),
    )
    param_names = ("shape", "dtype")
    timeout = 600

    def setup(self, shape, dtype):
        measure.pin_threads()
        self.X = data.make_rows(data.Cell(*shape, "overlapping", dtype))
        self.time_fastem(shape, dtype)

    def time_fastem(self, shape, dtype):
        from fastem import kmeans_plusplus

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


class Starts:
    """A fit of a single iteration and run."""

    params = measure.some(STARTS)
    param_names = ("start",)
    timeout = 600

    def setup(self, name):
        measure.pin_threads()
        model, self.options = STARTS[name]
        size = SIZE._replace(rows=measure.fewer(SIZE.rows))
        self.X, _ = models.make_problem(model, size, "float64")
        self.time_start(name)  # compiles

    def time_start(self, name):
        options = {"max_iter": 1, "n_init": 1, "random_state": 0, **self.options}
        models.fit(STARTS[name][0], self.X, SIZE.components, **options)
