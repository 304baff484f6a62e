"""What fitted models say of rows."""

from . import data, measure, models
from .models import MIXTURES, MODELS, Size

SIZE = Size(50_000, 16, 32)


def fitted(model, dtype):
    """Return a barely fitted estimator, and rows."""
    measure.pin_threads()
    size = SIZE._replace(rows=measure.fewer(SIZE.rows))
    X, start = models.make_problem(model, size, dtype)
    return models.fit(model, X, size.components, max_iter=2, **start), X


class Predict:
    params = (measure.some(MODELS), measure.some(data.DTYPES[::-1]))
    param_names = ("model", "dtype")
    timeout = 600

    def setup(self, model, dtype):
        self.estimator, self.X = fitted(model, dtype)
        self.time_predict(model, dtype)  # compiles

    def time_predict(self, model, dtype):
        self.estimator.predict(self.X)


class PredictDensities:
    params = (measure.some(MIXTURES), measure.some(data.DTYPES[::-1]))
    param_names = ("model", "dtype")
    timeout = 600

    def setup(self, model, dtype):
        self.estimator, self.X = fitted(model, dtype)
        self.time_predict_proba(model, dtype)  # compiles
        self.time_score_samples(model, dtype)

    def time_predict_proba(self, model, dtype):
        self.estimator.predict_proba(self.X)

    def time_score_samples(self, model, dtype):
        self.estimator.score_samples(self.X)
