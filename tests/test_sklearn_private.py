"""What fastem uses of scikit-learn's private names is there, and is what it was."""

import ast
import inspect
from numbers import Integral

import pytest
import sklearn
from processes import PACKAGE
from sklearn.base import BaseEstimator
from sklearn.callback import CallbackSupportMixin, ProgressBar
from sklearn.pipeline import make_pipeline

from fastem import KMeans, sklearn_private
from fastem.sklearn_private import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
    callback_context,
)

# Where each name lives, and the parameters that fastem passes by name.
PRIVATE = {
    "sklearn.base._fit_context": ["prefer_skip_nested_validation"],
    "sklearn.utils._optional_dependencies.check_matplotlib_support": [],
    "sklearn.utils._param_validation.HasMethods": [],
    "sklearn.utils._param_validation.Interval": ["closed"],
    "sklearn.utils._param_validation.InvalidParameterError": [],
    "sklearn.utils._param_validation.StrOptions": [],
    "sklearn.utils._param_validation.validate_params": ["prefer_skip_nested_validation"],
    "sklearn.utils.validation._check_feature_names": ["reset"],
    "sklearn.utils.validation._check_sample_weight": ["dtype", "ensure_non_negative"],
    "sklearn.utils.validation._get_feature_names": [],
    "sklearn.utils.validation._is_arraylike_not_scalar": [],
    "sklearn.utils.validation._num_samples": [],
}


@pytest.mark.parametrize("path", PRIVATE)
def test_a_private_name_is_as_it_was(path):
    name = path.rpartition(".")[2]
    value = getattr(sklearn_private, name)
    lives_in = f"{value.__module__}.{value.__qualname__}"
    release = f"scikit-learn {sklearn.__version__}"
    assert lives_in == path, f"{release} has moved {path} to {lives_in}"
    if PRIVATE[path]:
        lost = set(PRIVATE[path]) - set(inspect.signature(value).parameters)
        assert not lost, f"{release}'s {path} no longer takes {lost}"


def test_all_private_names_are_listed_here():
    listed = {path.rpartition(".")[2] for path in PRIVATE}
    assert {*listed, "callback_context"} == set(sklearn_private.__all__)


def private_imports(source):
    """Private names of scikit-learn that a source imports, and private attributes of estimators."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sklearn":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("sklearn.")]
        else:
            names = []
        yield from (name for name in names if "._" in name)


def test_no_other_module_imports_private_names():
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in PACKAGE.rglob("*.py")
        if (names := list(private_imports(path.read_text())))
    }
    assert set(found) == {"sklearn_private.py"}
    assert set(found["sklearn_private.py"]) == set(PRIVATE)


def test_constraints_of_parameters():
    assert Interval(Integral, 1, None, closed="left").is_satisfied_by(1)
    assert not Interval(Integral, 1, None, closed="left").is_satisfied_by(0)
    assert StrOptions({"a"}).is_satisfied_by("a")
    assert HasMethods(["fit"]).is_satisfied_by(KMeans())
    assert not HasMethods(["fit"]).is_satisfied_by(1)
    assert issubclass(InvalidParameterError, ValueError)


def test_fits_check_their_parameters():
    with pytest.raises(InvalidParameterError, match="'tol' parameter of KMeans"):
        KMeans(tol=-1).fit([[0.0], [1.0]])


def test_who_watches_gets_a_context():
    class Watched(CallbackSupportMixin, BaseEstimator):
        pass

    class Callback:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context, **data): ...
        def on_fit_task_end(self, estimator, context, **data): ...

    release = f"scikit-learn {sklearn.__version__}"
    assert callback_context(Watched(), 2) is None
    context = callback_context(Watched().set_callbacks(Callback()), 2)
    assert context is not None, f"{release} has renamed _skl_callbacks"
    assert context.max_subtasks == 2 and context.sequential_subtasks
    for name in ("subcontext", "call_on_fit_task_begin", "call_on_fit_task_end"):
        assert hasattr(context, name), f"{release} has renamed {name}"


def test_nobody_watches_in_a_meta_estimator_without_callbacks():
    """Which gives its estimators a context all the same."""

    class Noting(CallbackSupportMixin, BaseEstimator):
        def fit(self, X, y=None):
            self.has_parent = hasattr(self, "_parent_callback_ctx")
            contexts.append(callback_context(self, 1))
            return self

    contexts = []
    pipeline = make_pipeline("passthrough", Noting())
    pipeline.fit([[0.0]])
    assert pipeline[-1].has_parent, "scikit-learn has renamed _parent_callback_ctx"
    pipeline.set_callbacks(ProgressBar()).fit([[0.0]])
    assert contexts[0] is None
    assert contexts[1] is not None
