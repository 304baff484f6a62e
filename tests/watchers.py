"""Callbacks for tests."""


class Watching:
    """What scikit-learn asks of every callback; derived ones look at the ends of tasks."""

    def setup(self, estimator, context):
        pass

    def teardown(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass


class StopsOnce(Watching):
    """Asks once, after so many iterations, that there be no more; never if there aren't so many."""

    def __init__(self, after=None):
        self.after = after
        self.n_seen = 0

    def on_fit_task_end(self, estimator, context):
        if context.task_name != "iteration":
            return False
        self.n_seen += 1
        return self.n_seen == self.after
