"""The rules of the house hold, and the checks of tests/house.py would see if they didn't."""

from pathlib import Path

import house
import pytest
from house import House
from processes import PACKAGE

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def fastem():
    return House(PACKAGE)


def test_imports_point_down(fastem):
    assert house.wrong_arrows(fastem) == []


def test_no_circle(fastem):
    assert house.circles(fastem) == []


def test_kernels_import_only_what_compiles_them(fastem):
    assert house.strangers(fastem) == []


def test_the_loop_names_no_model(fastem):
    assert house.models_in_the_loop(fastem) == []


def test_no_folder_is_crowded(fastem):
    assert house.crowded(fastem) == []


def test_no_file_is_long(fastem):
    assert house.long(fastem) == []


def test_folders_say_what_they_are_for(fastem):
    assert house.unexplained(fastem) == []


def test_tests_mirror_the_package(fastem):
    assert house.unmirrored(fastem, TESTS, others=["asv_benchmarks"]) == []


@pytest.fixture
def planted(tmp_path):
    """Builds a house of the given files; each of its folders says what it is for."""

    def build(files):
        package = tmp_path / "fastem"
        for name, text in files.items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
            if not (folder / "__init__.py").exists():
                (folder / "__init__.py").write_text('"""A room."""\n')
        return House(package)

    return build


SOUND = {
    "kernels/runtime/chunks.py": "import numpy\n",
    "kernels/distances/metric.py": "from fastem.kernels.runtime import chunks\n",
    "kernels/kmeans/lloyd.py": "from fastem.kernels.distances.metric import f\nimport numba.core\n",
    "loop/fit.py": "",
    "loop/model.py": "from fastem.loop.fit import fit\n",
    "clustering/seeding.py": "",
    "clustering/euclidean/frame.py": "from fastem.clustering.seeding import f\nimport sklearn\n",
    "clustering/kmeans.py": "from fastem.clustering.euclidean.frame import f\n",
    "clustering/manhattan/frame.py": "",
    "em.py": "from fastem.loop.model import Model\n",
}


def all_faults(built):
    checks = (
        house.wrong_arrows,
        house.circles,
        house.strangers,
        house.models_in_the_loop,
        house.crowded,
        house.long,
        house.unexplained,
    )
    return {check.__name__: found for check in checks if (found := check(built))}


def test_a_sound_house(planted):
    assert all_faults(planted(SOUND)) == {}


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("kernels/runtime/chunks.py", "from fastem.kernels.distances.metric import f", "not below"),
        ("kernels/runtime/chunks.py", "import fastem.loop.fit", "not below"),
        ("kernels/kmeans/lloyd.py", "from fastem.kernels.own import base", "not below"),
        ("loop/fit.py", "def f():\n    from fastem.clustering import kmeans", "not below"),
        ("clustering/manhattan/frame.py", "import fastem.clustering.euclidean.frame", "not below"),
        ("clustering/kmeans.py", "from fastem.em import fit", "for users"),
        ("clustering/kmeans.py", "from fastem import KMeans", "for users"),
        ("clustering/kmeans.py", "from fastem.kernels import nearest", "for users"),
        ("kernels/attic/old.py", "", "no floor"),
        ("attic.py", "", "no floor"),
    ],
)
def test_a_wrong_arrow(planted, name, line, said):
    others = {"kernels/own/base.py": ""}
    faults = house.wrong_arrows(planted({**SOUND, **others, name: SOUND.get(name, "") + line}))
    module = name.removesuffix(".py").replace("/", ".")
    assert any(module in fault and said in fault for fault in faults)


def test_a_circle(planted):
    files = {
        "loop/a.py": "from fastem.loop import b",
        "loop/b.py": "def f():\n    from fastem.loop.c import g",
        "loop/c.py": "import fastem.loop.a",
    }
    (fault,) = all_faults(planted({**SOUND, **files}))["circles"]
    assert all(name in fault for name in ("loop.a", "loop.b", "loop.c"))


@pytest.mark.parametrize("line", ["import scipy.linalg", "from sklearn.base import clone"])
def test_a_stranger_among_kernels(planted, line):
    faults = all_faults(planted({**SOUND, "kernels/kmeans/lloyd.py": f"def f():\n    {line}\n"}))
    assert set(faults) == {"strangers"}


@pytest.mark.parametrize("line", ["KMeansModel = None", "# as for Gaussian mixtures"])
def test_a_model_in_the_loop(planted, line):
    faults = all_faults(planted({**SOUND, "loop/fit.py": line}))
    assert set(faults) == {"models_in_the_loop"}


def test_a_crowded_folder_and_a_long_file(planted, tmp_path):
    many = {f"rows/f{n}.py": "" for n in range(house.MOST_FILES)}
    long = {"loop/fit.py": "\n" * house.MOST_LINES}
    assert all_faults(planted({**SOUND, **many, **long})) == {}
    more = {"rows/more.py": "", "loop/fit.py": "\n" * (house.MOST_LINES + 1)}
    faults = all_faults(planted({**SOUND, **many, **more}))
    assert set(faults) == {"crowded", "long"}
    assert faults["crowded"] == [f"{tmp_path / 'fastem' / 'rows'}: {house.MOST_FILES + 1} files"]
    assert len(faults["long"]) == 1


@pytest.mark.parametrize("head", ["", "import numpy\n", '"""A room without an end"""\n'])
def test_a_folder_that_says_nothing(planted, head):
    faults = all_faults(planted({**SOUND, "loop/__init__.py": head}))
    assert set(faults) == {"unexplained"}


def test_a_room_without_tests_and_tests_without_a_room(planted, tmp_path):
    built = planted({"loop/fit.py": "", "rows/part.py": ""})
    tests = tmp_path / "tests"
    for name in ("test_house.py", "loop/test_fit.py", "cellar/test_wine.py", "asv/test_it.py"):
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).touch()
    faults = house.unmirrored(built, tests, others=["asv"])
    assert faults == ["rows: no tests", "tests/cellar: no such folder in the package"]
