"""The examples, run as a newcomer runs them."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

EXAMPLES = Path(__file__).parent.parent / "examples"


def run_example(name, *arguments):
    """Run an example in its own process."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def photograph(tmp_path):
    """A small picture with many colours, in a file whose name has a space."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :60]
    pixels = np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1) + rng.integers(0, 9, (40, 60, 3))
    path = tmp_path / "a picture.png"
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_compress_image(photograph, tmp_path):
    output = tmp_path / "new" / "folder"
    done = run_example("compress_image.py", photograph, "--colours", 12, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""

    original = np.asarray(Image.open(photograph)).astype(float)
    compressed = Image.open(output / "a picture-12-colours.png")
    assert compressed.mode == "P"
    assert len(compressed.getpalette()) == 3 * 12
    assert set(np.unique(np.asarray(compressed))) == set(range(12))
    colours = np.asarray(compressed.convert("RGB")).astype(float)

    error = np.mean((original - colours) ** 2)
    ours, theirs = re.search(r"mean squared error +(\S+) +(\S+)", done.stdout).groups()
    assert float(ours) == pytest.approx(error, abs=1e-4)
    # scikit-learn rounds where pixels are midway between two colours, so it may end elsewhere
    assert float(theirs) == pytest.approx(error, rel=0.1)

    for path in (photograph, output / "a picture-12-colours.png"):
        assert re.search(rf"{path.name} +{path.stat().st_size:,}\n", done.stdout)
    assert f"{40 * 60 * 3:,}\n" in done.stdout

    both = np.asarray(Image.open(output / "a picture-12-colours-side-by-side.png"))
    np.testing.assert_array_equal(both[:, :60], original)
    np.testing.assert_array_equal(both[:, -60:], colours)


def test_compress_image_alone(photograph, tmp_path):
    done = run_example("compress_image.py", photograph, "--no-comparison", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "scikit-learn" not in done.stdout
    assert (tmp_path / "a picture-64-colours.png").exists()


def test_compress_image_takes_greyscale(tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(path)
    done = run_example("compress_image.py", path, "--colours", 4, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    # 256 levels in four runs of 64: the mean of the squares 0.5², 1.5² … 31.5², with centres
    # such as 31.5 rounded to a whole level
    error = float(re.search(r"mean squared error +(\S+)", done.stdout).group(1))
    assert error == pytest.approx((64**2 - 1) / 12 + 0.25, abs=1)


@pytest.fixture
def complaint(capsys):
    """A function that runs the example in this process and returns its one line of error."""
    spec = importlib.util.spec_from_file_location("compress", EXAMPLES / "compress_image.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)

    def run(*arguments):
        try:
            status = example.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = stop.code
        assert status == 2
        return capsys.readouterr().err.strip().splitlines()[-1]

    return run


def test_compress_image_complains(photograph, tmp_path, complaint):
    text = tmp_path / "notes.txt"
    text.write_text("no picture")
    plain = tmp_path / "plain.png"
    Image.new("RGB", (8, 8), "red").save(plain)

    assert "can't read" in complaint(tmp_path / "missing.jpg")
    assert "can't read" in complaint(text)
    assert "can't read" in complaint(tmp_path)
    assert "only 1 distinct colours" in complaint(plain, "--colours", 2)
    assert "2 to 256 colours, not 257" in complaint(photograph, "--colours", 257)
    assert "2 to 256 colours, not 1" in complaint(photograph, "--colours", 1)
    assert "can't write" in complaint(photograph, "--output", text)


def test_bernoulli_digits(tmp_path):
    output = tmp_path / "digits.png"
    done = run_example("bernoulli_digits.py", "--components", 7, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = re.findall(r"^ +\d+ +(0\.\d+) +(\d+) +\d \(\d+%\)$", done.stdout, re.MULTILINE)
    weights, rows = np.array(table, float).T
    assert len(weights) == 7
    assert weights.sum() == pytest.approx(1, abs=0.01)
    assert (np.diff(weights) <= 0).all()
    assert rows.sum() == 1797
    digits = np.asarray(Image.open(output).convert("L")).astype(float)
    assert digits.min() < 20
    # Three rows of three places: seven digits leave the last two empty.
    down, across = (np.linspace(0, size, 4).astype(int) for size in digits.shape)
    dark = [
        (digits[down[i] : down[i + 1], across[j] : across[j + 1]] < 128).any()
        for i in range(3)
        for j in range(3)
    ]
    assert dark == [True] * 7 + [False] * 2


def test_bernoulli_digits_complains(tmp_path):
    for arguments, message in [
        (("--components", 0), "1 to 1797 components, not 0"),
        (("--output", tmp_path), "can't write"),
    ]:
        done = run_example("bernoulli_digits.py", *arguments)
        assert done.returncode == 2
        assert message in done.stderr


def test_segment_flower(photograph, tmp_path):
    done = run_example("segment_flower.py", photograph, "--components", 3, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    original = np.asarray(Image.open(photograph))
    panels = np.asarray(Image.open(tmp_path / "a picture-3-segments.png"))
    assert panels.shape == (40, 3 * 60 + 2 * 8, 3)
    np.testing.assert_array_equal(panels[:, :60], original)
    segments = panels[:, 68:128].reshape(-1, 3)
    colours, labels, sizes = np.unique(segments, axis=0, return_inverse=True, return_counts=True)
    assert len(colours) == 3
    for j, colour in enumerate(colours):
        mean = original.reshape(-1, 3)[labels.ravel() == j].mean(axis=0)
        np.testing.assert_allclose(colour, mean, atol=0.5)
    shares = [float(share) for share in re.findall(r"(\S+)%", done.stdout)]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    np.testing.assert_allclose(sorted(shares), np.sort(sizes) / 24, atol=5)


def test_iris_density(tmp_path):
    done = run_example("iris_density.py", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The BIC chooses 3:" in done.stdout
    agreement = re.search(r"agreement with the species (\S+)$", done.stdout, re.MULTILINE).group(1)
    assert float(agreement) > 0.85
    with Image.open(tmp_path / "iris-petals.png") as picture:
        assert picture.width > 2 * picture.height


def test_model_based_clustering(tmp_path):
    done = run_example("model_based_clustering.py", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    # mclust publishes BICs of -561.7285 for iris' best and -574.0178 for the next but one.
    assert "The BIC chooses VEV with 2 components" in done.stdout
    table = dict(re.findall(r"^([EVI]{3}) +(.*)$", done.stdout, re.MULTILINE))
    assert len(table) == 14
    assert float(table["VEV"].split()[1]) == pytest.approx(561.7285, abs=0.1)
    assert float(table["VVV"].split()[1]) == pytest.approx(574.0178, abs=0.1)
    for name in ("choice", "models"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width > 1.5 * picture.height


def test_kmedians_outliers(tmp_path):
    path = tmp_path / "outliers.png"
    done = run_example("kmedians_outliers.py", "--output", path)
    assert done.returncode == 0, done.stderr
    misses = {
        name: [float(miss) for miss in listed.split()]
        for name, listed in re.findall(r"^(K\w+) +misses the places by (.*)$", done.stdout, re.M)
    }
    assert len(misses["KMeans"]) == len(misses["KMedians"]) == 5
    assert max(misses["KMedians"]) < 0.5 < max(misses["KMeans"])
    with Image.open(path) as picture:
        assert picture.width > 2 * picture.height


def test_local_optimum(tmp_path):
    path = tmp_path / "optimum.png"
    done = run_example("local_optimum.py", "--output", path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = re.findall(r"^(\w+) +one run +(\S+) +with search +(\S+)$", done.stdout, re.M)
    inertias = {name: (float(plain), float(searched)) for name, plain, searched in found}
    assert inertias["rectangle"] == (16.0, 1.0)
    plain, searched = inertias["grid"]
    # a blob's rows are off by the square of 0.12 in each of two coordinates
    assert searched == pytest.approx(64 * 60 * 2 * 0.12**2, rel=0.1)
    assert searched < 0.9 * plain
    with Image.open(path) as picture:
        assert picture.width > picture.height


def test_poisson_mixture():
    done = run_example("poisson_mixture.py")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = np.array(re.findall(r"\d+", done.stdout.split("column):")[1]), int).reshape(10, 10)
    np.testing.assert_array_equal(table.sum(axis=0), np.bincount(load_digits().target))
    # Most components are mostly one digit's.
    assert table.max(axis=1).sum() > 0.65 * table.sum()


@pytest.mark.parametrize("workers", [0, 2])
def test_dask_parquet(workers, tmp_path):
    done = run_example(
        "dask_parquet.py", "--rows", 9001, "--files", 3, "--workers", workers, "--folder", tmp_path
    )
    assert done.returncode == 0, done.stderr
    table = re.findall(r"^ +(\S+) +(\S+) +(\S+) +(\S+) +(\S+)$", done.stdout, re.M)[1:]
    means = np.array(table, float)
    np.testing.assert_allclose(means[:, :4], [[20, 1, 3, 50], [22, 1.4, 5, 80], [58, 2.5, 6, 95],
        [60, 3, 1, 20]], rtol=0.02)  # fmt: skip
    np.testing.assert_allclose(means[:, 4], 0.25, atol=0.02)
    groups = pd.read_parquet(tmp_path / "groups")
    assert len(groups) == 9001 and len(list((tmp_path / "groups").glob("*.parquet"))) == 3
    found = groups.groupby("group")["temperature"].mean().sort_values()
    np.testing.assert_allclose(found, [20, 22, 58, 60], rtol=0.02)
    assert np.isfinite(groups["log_density"]).all()


def test_em_by_the_book(tmp_path):
    output = tmp_path / "new" / "folder"
    done = run_example("em_by_the_book.py", "--runs", 40, "--output", output)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "best cost 1 W^2, a local minimum 4 W^2 for H = 2 W" in done.stdout
    exact = re.findall(r"^ +exact +(.*)$", done.stdout, re.MULTILINE)
    heights = np.array([1.5, 2, 3, 4, 6])
    random_points, kmeans_plusplus = (np.array(line.split(), float) for line in exact)
    np.testing.assert_allclose(random_points, (2 + heights**2) / 3, atol=1e-3)
    np.testing.assert_allclose(
        kmeans_plusplus, (3 * heights**2 + 1) / (2 * heights**2 + 2), atol=1e-3
    )
    divergences = re.findall(r"^KL\(.*\) = (\S+) nats$", done.stdout, re.MULTILINE)
    assert divergences == ["0.5", "0.005"]
    listed = re.findall(r"^ *(\d+|truth)(?: +\S+){6} +(-\S+)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in listed[:5]] == ["0", "1", "2", "5", "20"]
    assert listed[-1][0] == "truth"
    likelihoods = np.array([likelihood for _, likelihood in listed], float)
    assert (np.diff(likelihoods[:-1]) > 0).all()
    assert likelihoods[-2] > likelihoods[-1]
    local, best = (
        float(number) for number in re.findall(r"log-likelihood (-\d+\.\d+)$", done.stdout, re.M)
    )
    assert best > local + 5
    for name in ("mean", "variance"):
        ours, drawn = re.search(rf"^{name} +(\S+), of .* (\S+)$", done.stdout, re.M).groups()
        assert float(drawn) == pytest.approx(float(ours), rel=0.02)
    for case in ("rectangle", "divergence", "rounds", "restarts", "sums"):
        with Image.open(output / f"book-{case}.png") as picture:
            assert picture.width > 2 * picture.height
        assert (output / f"book-{case}.png").stat().st_size < 150_000


def test_em_by_the_book_complains():
    done = run_example("em_by_the_book.py", "--runs", 0)
    assert done.returncode == 2
    assert "at least 1 run, not 0" in done.stderr


def test_mpi_mixture():
    """Two ranks find the mixture that their rows were drawn from."""
    mpiexec = Path(sys.executable).with_name("mpiexec")
    command = [mpiexec, "-n", "2", sys.executable, EXAMPLES / "mpi_mixture.py", "--rows", "4000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert re.match(r"2 ranks, 6,000 rows, \d+ iterations", done.stdout)
    weights = sorted(float(weight) for weight in re.findall(r"weight (\S+),", done.stdout))
    np.testing.assert_allclose(weights, [0.2, 0.3, 0.5], atol=0.03)
    counts = re.findall(r"rank \d: \[ *(\d+) +(\d+) +(\d+)\]", done.stdout)
    assert [sum(map(int, count)) for count in counts] == [4000, 2000]


def test_incomplete_measurements(tmp_path):
    done = run_example("incomplete_measurements.py", "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = re.findall(r"^ +(\d+)% +(\S+) +(\S+) +(\S+)$", done.stdout, re.MULTILINE)
    errors = np.array(table, float)
    np.testing.assert_array_equal(errors[:, 0], [5, 10, 20, 30, 40, 50])
    # Columns have a standard deviation of one, of which their means leave all.
    np.testing.assert_allclose(errors[:, 1], 1.0, atol=0.1)
    assert (errors[:, 3] < errors[:, 2]).all()
    assert (errors[:, 2] < 0.7).all()
    with Image.open(tmp_path / "new" / "incomplete-measurements.png") as picture:
        assert picture.width > 2 * picture.height


def test_noisy_stars(tmp_path):
    done = run_example("noisy_stars.py", "--stars", 3000, "--output", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    widths = re.findall(r"^ +([12]) +(\S+) +(\S+) +(\S+)$", done.stdout, re.MULTILINE)
    assert len(widths) == 2
    for _, true, ignoring, knowing in np.array(widths, float):
        assert abs(knowing - true) < 1.0
        assert ignoring > true + 3.0
    measured, denoised = map(float, re.findall(r"velocities are off by (\S+)$", done.stdout, re.M))
    assert denoised < 0.9 * measured
    with Image.open(tmp_path / "new" / "noisy-stars.png") as picture:
        assert picture.width > 2 * picture.height
