"""Every model: whole fits with default parameters, iterations, and single passes over the rows."""

from . import data, machine, measure, models
from .models import MODELS, Size
from .passes import PASSES

SIZES = {
    str(size): size for size in (Size(50_000, 2, 8), Size(20_000, 16, 32), Size(5_000, 128, 16))
}
ITERATIONS = 10


class _OnRows:
    params = (measure.some(MODELS), measure.some(SIZES), measure.some(data.DTYPES[::-1]))
    param_names = ("model", "size", "dtype")
    timeout = 600

    def setup(self, model, name, dtype):
        measure.pin_threads()
        size = SIZES[name]
        self.size = size._replace(rows=measure.fewer(size.rows))
        self.X, self.start = models.make_problem(model, self.size, dtype)


class Fits(_OnRows):
    """From seeds to convergence."""

    def setup(self, model, name, dtype):
        super().setup(model, name, dtype)
        self.time_fit(model, name, dtype)  # compiles

    def time_fit(self, model, name, dtype):
        models.fit(model, self.X, self.size.components, random_state=0)


class Iterations(_OnRows):
    """Ten from a given start, with what a fit does before and after."""

    def setup(self, model, name, dtype):
        super().setup(model, name, dtype)
        self.time_iterations(model, name, dtype)  # compiles

    def time_iterations(self, model, name, dtype):
        options = {"max_iter": ITERATIONS, "tol": 0.0, **self.start}
        models.fit(model, self.X, self.size.components, **options)


class Passes:
    """A single pass over the rows, as a share of what the machine can do at most."""

    params = (measure.some(PASSES), measure.some(SIZES), measure.some(data.DTYPES[::-1]))
    param_names = ("model", "size", "dtype")
    timeout = 600

    def setup(self, model, name, dtype):
        measure.pin_threads()
        n, d, k = SIZES[name]
        self.one = PASSES[model](measure.fewer(n), d, k, dtype)
        self.time_pass(model, name, dtype)  # compiles

    def time_pass(self, model, name, dtype):
        self.one.run()

    def track_share_of_limit(self, model, name, dtype):
        with measure.threads():
            seconds = machine.least_time(self.one.run)
        return self.one.work.share_of_limit(seconds, self.one.unit)

    track_share_of_limit.unit = "of the machine's limit"
