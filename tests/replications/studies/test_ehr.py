import numpy as np
import pytest

from batchscope.replications.studies.ehr import generate_records, make_digits_task, misread_sex

HELD = slice(1300, None)


def test_people_have_the_codes_that_the_claim_rests_on() -> None:
    records = generate_records()

    # About 26 codes a person; and prevalence is heavy-tailed: the tenth most common code is more
    # than three times as common as the median one.
    assert float(records.codes.sum(1).mean()) == pytest.approx(26, abs=2)
    prevalence = np.sort(records.codes.mean(0).numpy())
    assert prevalence[-30] > 3 * np.median(prevalence)


@pytest.mark.parametrize(("has_locks", "low", "high"), [(True, 0.04, 0.12), (False, 0.4, 0.6)])
def test_a_linear_machine_reads_sex_from_locked_codes_alone(
    has_locks: bool, low: float, high: float
) -> None:
    records = generate_records(has_locks=has_locks)

    # Of 300 people: 0.07 and 0.5, each within about three standard errors.
    assert low < misread_sex(records.codes[HELD].numpy(), records.sex[HELD].numpy()) < high


def test_the_real_images_are_of_two_digits() -> None:
    task = make_digits_task()

    # Of 181 and 180 a fifth is set aside.
    assert (task.train_size, len(task.datasets["val"])) == (289, 72)
    assert task.model()(task.datasets["val"][0][0][None]).shape == (1, 64)


def test_records_are_the_same_twice() -> None:
    first, second = generate_records(), generate_records()

    assert first.codes.equal(second.codes)
    assert first.sex.equal(second.sex)
