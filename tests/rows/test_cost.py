"""The cost of an iteration that the docs give for many workers is that of a simulated reduction."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "past-one-machine.md"
LATENCY, BANDWIDTH = 2e-6, 12.5e9
UNPACKING, ADDING = 20e-6, 1 / 5e9
N_WORKERS, N_FEATURES, N_CLUSTERS, AROUND = 1000, 16, 32, 512
PASS = {"K-means": 0.646, "full Gaussian mixture": 19.3}
SIZES = {
    "K-means": 8 * N_CLUSTERS * (N_FEATURES + 1) + AROUND,
    "full Gaussian mixture": 8 * N_CLUSTERS * (1 + N_FEATURES + N_FEATURES**2) + AROUND,
}


def network(n_workers, size):
    return LATENCY * math.ceil(math.log2(n_workers)) + (n_workers - 1) * size / BANDWIDTH


def adding(n_workers, size):
    return n_workers * (UNPACKING + size * ADDING)


def simulate(begins, size):
    """When each worker has all statistics, and which it then has, in the order it got them.

    In each round a worker sends all it has, or what is still missing, to the one that many places
    before it (Bruck et al., "Efficient algorithms for all-to-all communications in multiport
    message-passing systems", 1997): MPI libraries' way for any number of workers.
    """
    n_workers = len(begins)
    clocks, held = list(begins), [[worker] for worker in range(n_workers)]
    distance = 1
    while distance < n_workers:
        sent = min(distance, n_workers - distance)
        messages = [
            (clocks[worker], held[worker][:sent], (worker - distance) % n_workers)
            for worker in range(n_workers)
        ]
        for leaves, blocks, receiver in messages:
            arrives = max(leaves, clocks[receiver]) + LATENCY + len(blocks) * size / BANDWIDTH
            held[receiver] = held[receiver] + blocks
            clocks[receiver] = arrives
        distance *= 2
    return clocks, held


@pytest.mark.parametrize("n_workers", [1, 2, 3, 8, 13, 100])
def test_everyone_gets_everything_once(n_workers):
    _, held = simulate(np.zeros(n_workers), 100)
    for worker, blocks in enumerate(held):
        assert blocks == [(worker + i) % n_workers for i in range(n_workers)]


@pytest.mark.parametrize("model", PASS)
@pytest.mark.parametrize("n_workers", [2, 8, 100, 1000])
def test_the_formula_is_what_the_rounds_take(n_workers, model):
    clocks, _ = simulate(np.zeros(n_workers), SIZES[model])
    assert max(clocks) == pytest.approx(network(n_workers, SIZES[model]), rel=1e-9)


def test_the_slowest_worker_delays_all():
    rng = np.random.default_rng(0)
    size = SIZES["K-means"]
    longest = []
    for _ in range(5):
        begins = PASS["K-means"] * (1 + 0.05 * rng.normal(size=N_WORKERS))
        clocks, _ = simulate(begins, size)
        assert max(clocks) <= max(begins) + network(N_WORKERS, size) + 1e-9
        assert min(clocks) >= max(begins)
        longest.append(max(begins) / PASS["K-means"] - 1)
    stated = int(re.search(r"(\d+) % longer than the average", _page()).group(1))
    assert np.mean(longest) == pytest.approx(stated / 100, abs=0.01)


def _page():
    return re.sub(r"\s+", " ", PAGE.read_text())


@pytest.mark.parametrize("model", PASS)
def test_the_page_says_so(model):
    size = SIZES[model]
    sent, added = network(N_WORKERS, size), adding(N_WORKERS, size)
    share = PASS[model] / (PASS[model] + sent + added)
    row = (
        f"| {model} | {size / 1e3:.1f} kB | {PASS[model] * 1e3:,.0f} ms | {sent * 1e3:.1f} ms "
        f"| {added * 1e3:.1f} ms | {share:.1%} |".replace("%", " %")
    )
    assert row in _page()
