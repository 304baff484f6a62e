import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline

from fastem import BernoulliMixture, GaussianMixture, KMeans
from fastem.warning import warn_user


def test_names_the_line_outside():
    with pytest.warns(RuntimeWarning, match="here") as record:
        warn_user("here", RuntimeWarning)
    assert record[0].filename == __file__


@pytest.mark.parametrize("wrap", [lambda model: model, make_pipeline], ids=["alone", "pipeline"])
@pytest.mark.parametrize(
    "model",
    [KMeans(3, n_init=1), GaussianMixture(2, max_iter=1, tol=0.0)],
    ids=["indistinct", "not converged"],
)
def test_fits_name_the_users_line(model, wrap):
    X = np.repeat([[0.0], [1.0]], 5, axis=0)
    with pytest.warns(ConvergenceWarning) as record:
        wrap(model).fit(X)
    assert record[0].filename == __file__


@pytest.mark.parametrize("method", ["predict", "score_samples", "score", "elbo", "bic"])
def test_so_do_methods_of_any_depth(method):
    fixed = {"probabilities_init": [[1.0, 0.2], [1.0, 0.6]], "fixed": ("weights", "probabilities")}
    model = BernoulliMixture(2, **fixed).fit([[1, 0], [1, 1]])
    with pytest.warns(RuntimeWarning, match="1 rows are impossible") as record:
        getattr(model, method)([[0, 1], [1, 1]])
    assert record[0].filename == __file__
