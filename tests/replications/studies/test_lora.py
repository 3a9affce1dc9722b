import math

import pytest
import torch

from batchscope.replications.studies import lora


def test_the_divergence_of_two_coins_is_what_it_is_by_hand() -> None:
    one, two = (torch.tensor([[p, 1 - p]]).log() for p in (0.5, 0.25))

    # (0.5 - 0.25) (ln 0.5 - ln 0.25) + (0.5 - 0.75) (ln 0.5 - ln 0.75)
    assert lora._divergence(one, two) == pytest.approx(0.25 * math.log(2) + 0.25 * math.log(1.5))
    assert lora._divergence(one, one) == 0.0


def test_four_of_the_versions_pairs_are_equal_in_the_lores_sense() -> None:
    pairs = [(a, b) for i, a in enumerate(lora._VERSIONS) for b in lora._VERSIONS[i + 1 :]]

    equal = [(a, b) for a, b in pairs if a[1:] == b[1:]]
    assert (len(pairs), len(equal)) == (28, 4)
    assert all(a[0] != b[0] for a, b in equal)
