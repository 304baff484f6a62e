"""Fits that are watched: an estimator as it was before each iteration, run by run."""

from collections.abc import Callable
from typing import Any

from sklearn.base import clone


class _Recorder:
    """Calls a function with the estimator as it is before an iteration, and its run's number."""

    def __init__(self, note):
        self.note = note

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator):
        if context.task_name == "iteration":
            self.note(fitted_estimator, context.parent.task_id)

    def on_fit_task_end(self, estimator, context):
        pass


def fit_watched(
    estimator: Any, X: Any, sample_weight: Any, note: Callable[[Any, int], None], **parameters: Any
) -> Any:
    """Fit a clone and call ``note(as_before_an_iteration, run)`` for each iteration."""
    watched = clone(estimator).set_params(**parameters).set_callbacks(_Recorder(note))
    return watched.fit(X, sample_weight=sample_weight).set_callbacks()
