"""A fit that fails at its very end leaves a mixture as it was."""

import numpy as np
import pytest

from fastem import BernoulliMixture, GaussianMixture


class Raises:
    """A callback that raises when the fit's task ends."""

    def setup(self, estimator, context): ...

    def teardown(self, estimator, context): ...

    def on_fit_task_begin(self, estimator, context, **data): ...

    def on_fit_task_end(self, estimator, context, **data):
        if context.task_name == "fit":
            raise RuntimeError("at the end")


@pytest.mark.parametrize("kind", [GaussianMixture, BernoulliMixture])
def test_all_attributes_are_those_of_the_fit_before(kind):
    rng = np.random.default_rng(0)
    five, three = (rng.random((50, 5)) > 0.5) + 0.0, (rng.random((60, 3)) > 0.5) + 0.0
    model = kind(2, random_state=0).fit(five)
    labels = model.predict(five)
    before = {name: value for name, value in vars(model).items() if name.endswith("_")}
    with pytest.raises(RuntimeError, match="at the end"):
        model.set_callbacks(Raises()).fit(three)
    after = {name: value for name, value in vars(model).items() if name.endswith("_")}
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)
    np.testing.assert_array_equal(model.predict(five), labels)
