"""The tasks of a fit, as scikit-learn's callbacks watch them."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastem.sklearn_private import callback_context


class Task:
    """A node in the tree of tasks that scikit-learn's callbacks watch: fit, run, iteration."""

    def __init__(self, context, estimator, attributes, data):
        self._context = context
        self._estimator = estimator
        self._attributes = attributes
        self._data = data

    def _hook(self, hook, parameters):
        return hook(
            estimator=self._estimator,
            # Evaluated for those callbacks only that ask for a fitted estimator.
            reconstruction_attributes=(
                None if parameters is None else partial(self._attributes, parameters)
            ),
            **self._data,
        )

    def begin(self, parameters: Any = None) -> "Task":
        """Tell the callbacks that the task begins."""
        self._hook(self._context.call_on_fit_task_begin, parameters)
        return self

    def subtask(self, name: str, max_subtasks: int | None = 0, parameters: Any = None) -> "Task":
        """Begin a task inside this one."""
        context = self._context.subcontext(task_name=name, max_subtasks=max_subtasks)
        return Task(context, self._estimator, self._attributes, self._data).begin(parameters)

    def end(self, parameters: Any = None) -> bool:
        """Tell the callbacks that the task has ended; whether one asks to stop its siblings."""
        return self._hook(self._context.call_on_fit_task_end, parameters)


class _Unwatched:
    """The same without callbacks, for nothing."""

    def begin(self, parameters=None):
        return self

    def subtask(self, name, max_subtasks=0, parameters=None):
        return self

    def end(self, parameters=None):
        return False


UNWATCHED = _Unwatched()


class Agreed:
    """A task whose end means the same to all processes that run the fit.

    Parameters
    ----------
    task : Task
    agree : callable
        One process's answer for all.
    """

    def __init__(self, task: Any, agree: Callable[[bool], bool]):
        self._task = task
        self._agree = agree

    def subtask(self, name: str, max_subtasks: int | None = 0, parameters: Any = None) -> "Agreed":
        """As :meth:`Task.subtask`."""
        return Agreed(self._task.subtask(name, max_subtasks, parameters), self._agree)

    def end(self, parameters: Any = None) -> bool:
        """As :meth:`Task.end`."""
        return self._agree(self._task.end(parameters))


def watch(
    estimator: Any, n_init: int, attributes: Callable[[Any], dict[str, Any]], **data: Any
) -> Any:
    """Begin the fit's task if anybody watches.

    Parameters
    ----------
    estimator : estimator with sklearn.callback.CallbackSupportMixin
        Its ``fit`` is decorated with scikit-learn's ``_fit_context``, which ends the callbacks.
    n_init : int
        Number of runs.
    attributes : callable
        Makes the fitted attributes, a dict, of parameters; for callbacks that ask for an
        estimator as if the fit had stopped.
    **data
        ``X``, ``y`` and ``metadata``, which callbacks may ask for.

    Returns
    -------
    Task
    """
    context = callback_context(estimator, n_init)
    if context is None:
        return UNWATCHED
    return Task(context, estimator, attributes, data).begin()
