from batchscope.replications.core_seconds import time_in_turn
from batchscope.replications.studies import cost


def test_timings_of_one_core_and_of_two_take_turns() -> None:
    task = cost.make_task()

    timings = time_in_turn(task, (8, 64), (16,), 2, report=lambda _: None)

    sizes = [[[step.batch_size for step in steps] for steps in timing] for timing in timings]
    assert sizes == [[[8, 64], [16]]] * 2
    assert all(step.seconds for timing in timings for steps in timing for step in steps)
