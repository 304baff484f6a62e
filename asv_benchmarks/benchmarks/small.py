"""Small data, where the way from the call to the kernel is what takes the time."""

from . import measure


class SmallKMeans:
    """The iris (150 x 4) and the digits (1797 x 64) with seeding, once and with restarts."""

    params = (measure.some(["iris", "digits"]), measure.some([1, 10]))
    param_names = ("data", "n_init")

    def setup(self, name, n_init):
        import sklearn.datasets

        measure.pin_threads()
        self.X = getattr(sklearn.datasets, f"load_{name}")().data
        self.options = {
            "n_clusters": {"iris": 3, "digits": 10}[name],
            "n_init": n_init,
            "random_state": 0,
        }
        self.time_fit(name, n_init)

    def time_fit(self, name, n_init):
        from fastem import KMeans

        KMeans(**self.options).fit(self.X)

    def track_ratio_to_sklearn(self, name, n_init):
        import sklearn.cluster

        with measure.threads():
            timed = measure.in_turns(
                {
                    "sklearn": lambda: sklearn.cluster.KMeans(**self.options).fit(self.X),
                    "fastem": lambda: self.time_fit(name, n_init),
                }
            )
        seconds = {name: measure.median(times) for name, (times, _) in timed.items()}
        return seconds["sklearn"] / seconds["fastem"]

    track_ratio_to_sklearn.unit = "x"
