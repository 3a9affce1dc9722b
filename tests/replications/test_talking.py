import pytest
import torch
from torch.nn import functional as F

from batchscope.replications.talking import (
    FRAMES,
    Listener,
    contrast,
    generate_utterances,
    misread_by_probe,
    misread_phones,
)


def test_an_untrained_network_misreads_about_a_third_of_the_frames() -> None:
    frames, masks, phones = generate_utterances(120, 1)
    torch.manual_seed(0)

    # The stand-in's stated property; from single frames without context it is more.
    untrained = float(misread_phones(Listener(), (frames, masks, phones)))
    assert 0.3 < untrained < 0.4
    assert misread_by_probe(frames, phones) > untrained


def test_phones_last_four_to_nine_frames_unless_they_are_shuffled() -> None:
    def changes(phones: torch.Tensor) -> float:
        return float((phones[:, 1:] != phones[:, :-1]).float().mean())

    spoken, shuffled = (
        generate_utterances(50, 1, is_shuffled=is_shuffled)[2] for is_shuffled in (False, True)
    )

    # At least four frames; at most nine, and a phone may follow itself.
    assert 1 / 18 < changes(spoken) < 1 / 4
    # Two frames at random, of what their utterance holds; 3,950 pairs have an error of 0.006.
    counts = F.one_hot(shuffled).sum(1).double()
    alike = (counts * (counts - 1)).sum(1) / (FRAMES * (FRAMES - 1))
    assert changes(shuffled) == pytest.approx(1 - float(alike.mean()), abs=0.02)


def test_the_loss_of_a_batch_is_the_mean_over_its_utterances() -> None:
    batch = generate_utterances(8, 0)
    torch.manual_seed(0)
    model = Listener()

    each = [contrast(model, tuple(part[i : i + 1] for part in batch)) for i in range(8)]

    assert float(contrast(model, batch)) == pytest.approx(float(torch.stack(each).mean()), rel=1e-5)


def test_utterances_are_the_same_twice_and_others_for_another_seed() -> None:
    first, second, other = (generate_utterances(4, seed)[0] for seed in (0, 0, 1))

    assert first.equal(second)
    assert not first.equal(other)
