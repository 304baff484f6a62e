"""What a search chooses of all that there is to gain."""

import numpy as np
import pytest

from fastem.loop.search import Offers, _Choices, most_gaining

GAINS = np.array([3.0, 0.0, 5.0, 4.0, 1.0, -2.0])
COMPONENTS = np.array([0, 0, 1, 1, 2, 3])  # of which 3 has nothing to gain
OFFERS = Offers(GAINS, COMPONENTS, None)


@pytest.mark.parametrize(
    ("size", "expected"), [(1, [2]), (2, [0, 2]), (3, [0, 2, 4]), (9, [0, 2, 4])]
)
def test_the_best_offer_of_each_component_that_gains_most(size, expected):
    assert most_gaining(OFFERS, size, None).tolist() == expected


def test_luck_chooses_at_most_one_offer_of_a_component():
    luck = np.random.RandomState(0)
    seen = set()
    for _ in range(200):
        chosen = most_gaining(OFFERS, 2, luck)
        assert len(set(COMPONENTS[chosen])) == len(chosen) == 2
        assert (GAINS[chosen] > 0).all()
        seen.add(tuple(chosen))
    assert seen == {(0, 2), (0, 3), (0, 4), (2, 4), (3, 4)}


def test_nothing_to_gain():
    assert len(most_gaining(Offers(np.zeros(3), np.arange(3), None), 2, None)) == 0
    assert len(most_gaining(Offers(np.empty(0), np.empty(0, int), []), 2, None)) == 0


def test_nothing_is_tried_twice():
    choices = _Choices(OFFERS, np.random.RandomState(0))
    found = [choices.next(1, lucky=False)]
    while (chosen := choices.next(1, lucky=True)) is not None:
        found.append(chosen)
    assert found[0].tolist() == [2]
    tried = [tuple(chosen) for chosen in found]
    assert len(tried) == len(set(tried)) and set(tried) <= {(0,), (2,), (3,), (4,)}
    assert len(tried) >= 3
