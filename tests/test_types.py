"""What ``py.typed`` promises: mypy finds no fault here nor in a user's file, and finds a user's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from processes import PACKAGE

import fastem

ROOT = PACKAGE.parent
USER = Path(__file__).with_name("typing_user.py")


@pytest.fixture(scope="module")
def mypy(tmp_path_factory):
    """Runs mypy; returns the errors it reports."""
    cache = tmp_path_factory.mktemp("mypy")

    def run(*arguments):
        command = [sys.executable, "-m", "mypy", "--cache-dir", cache, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert not done.stderr, done.stderr
        assert done.returncode in (0, 1), done.stdout
        return [line for line in done.stdout.splitlines() if ": error: " in line]

    return run


def test_no_errors_in_the_package(mypy):
    assert mypy() == []


def test_no_errors_in_a_users_file(mypy):
    assert mypy(USER) == []


def test_that_file_has_every_public_name():
    words = set(re.findall(r"\w+", USER.read_text()))
    names = {*fastem.__all__, *fastem.em.__all__, *fastem.kernels.__all__}
    # What `em` has beside models and their fit is for estimators.
    assert names - {"Run", "Step", "Task", "watch"} <= words


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("from fastem import KMeanz", 'has no attribute "KMeanz"'),
        ("import fastem; fastem.KMeanz", 'has no attribute "KMeanz"'),
        ("from fastem.kernels import nearst", 'has no attribute "nearst"'),
        (
            "from fastem import KMeans; KMeans(n_cluster=3)",
            'Unexpected keyword argument "n_cluster"',
        ),
        ("from fastem import KMeans; KMeans('three')", 'incompatible type "str"; expected "int"'),
        ("from fastem import KMeans; KMeans().fit()", 'Missing positional argument "X"'),
        ("from fastem import KMeans; KMeans().fit([[1]], weights=1)", '"weights" for "fit"'),
        ("from fastem import GaussianMixture; GaussianMixture(tol='x')", 'expected "float"'),
        ("from fastem import BernoulliMixture; BernoulliMixture(alpha='x')", 'expected "float"'),
        ("from fastem import KMeans; n: str = KMeans().n_iter_", 'expression has type "int"'),
        ("from fastem import kmeans_plusplus; kmeans_plusplus()", "Missing positional argument"),
    ],
)
def test_a_users_mistake_is_found(mypy, tmp_path, line, said):
    file = tmp_path / "mistake.py"
    file.write_text(line + "\n")
    (report,) = mypy(file)
    assert said in report
