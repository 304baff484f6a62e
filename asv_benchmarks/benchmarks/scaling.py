"""How ten iterations of each model grow with threads, rows, features and components."""

import os

from . import measure, models
from .models import ESTIMATORS, Size

BASE = Size(measure.fewer(100_000), 16, 16)


class _Growing:
    def prepare(self, model, size, n_threads=measure.N_THREADS):
        measure.pin_threads(n_threads)
        self.components = size.components
        self.X, self.start = models.make_problem(model, size, "float64")
        self.run(model)  # compiles

    def run(self, model):
        models.fit(model, self.X, self.components, max_iter=10, tol=0.0, **self.start)


class Threads(_Growing):
    params = (measure.some(ESTIMATORS), measure.some([1, 2, 4, 8, 16, 32], 2))
    param_names = ("model", "n_threads")
    timeout = 600

    def setup(self, model, n_threads):
        if n_threads > os.cpu_count():
            raise NotImplementedError("more threads than CPUs")
        self.prepare(model, BASE, n_threads)

    def time_iterations(self, model, n_threads):
        self.run(model)


class _GrowingSize(_Growing):
    axis = ""
    timeout = 600

    def setup(self, model, value):
        self.prepare(model, BASE._replace(**{self.axis: value}))

    def time_iterations(self, model, value):
        self.run(model)


class Rows(_GrowingSize):
    axis = "rows"
    params = (measure.some(ESTIMATORS), measure.some([1_000, 10_000, 100_000, 1_000_000]))
    param_names = ("model", axis)


class Features(_GrowingSize):
    axis = "features"
    params = (measure.some(ESTIMATORS), measure.some([2, 4, 8, 16, 32, 64, 128]))
    param_names = ("model", axis)


class Components(_GrowingSize):
    axis = "components"
    params = (measure.some(ESTIMATORS), measure.some([2, 4, 8, 16, 32, 64, 128]))
    param_names = ("model", axis)
