from importlib.metadata import version

import pytest
from processes import run_script

import fastem


def test_import_loads_neither_numba_nor_scikit_learn():
    run_script(
        """
        import sys
        import fastem
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert loaded.isdisjoint({"numba", "sklearn", "scipy", "numpy"}), loaded
        fastem.KMeans
        assert {"numba", "sklearn"} <= set(sys.modules)
        """
    )


def test_a_bernoulli_mixture_loads_no_gaussian_one():
    run_script(
        """
        import sys
        from fastem import BernoulliMixture
        X = [[0, 1, 0], [1, 1, 0], [0, 1, 1], [1, 0, 1]] * 5
        BernoulliMixture(2, search="breathing", max_iter=2, random_state=0).fit(X)
        loaded = [name for name in sys.modules if name.startswith("fastem.") and "gaussian" in name]
        assert loaded == [], loaded
        """
    )


_LOADING = """
import gc, sys
import fastem

gc.collect()
if sys.argv[1] == "frozen":
    gc.freeze()
elif sys.argv[1] == "disabled":
    gc.disable()
before = gc.get_stats()[1:]  # all but the youngest
model = fastem.KMeans
n_young = len(gc.get_objects(generation=0)) + len(gc.get_objects(generation=1))
print(gc.get_stats()[1:] == before, n_young < 5_000, gc.isenabled(), gc.get_freeze_count() > 0)
"""


@pytest.mark.parametrize(
    ("collector", "expected"),
    [
        ("enabled", "True True True False"),
        ("frozen", "True False True True"),
        ("disabled", "True False False False"),
    ],
)
def test_modules_are_loaded_without_a_look_for_garbage(collector, expected):
    assert run_script(_LOADING, collector).strip() == expected


def test_public_names_resolve_and_are_listed():
    for name in fastem.__all__:
        assert getattr(fastem, name).__name__ == name
    assert {*fastem.__all__, "em", "kernels", "rows", "__version__"} <= set(dir(fastem))
    assert fastem.em.__name__ == "fastem.em"


def test_version_is_the_installed_one():
    assert fastem.__version__ == version("fastem")


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'KMeanz'"):
        fastem.KMeanz  # noqa: B018
