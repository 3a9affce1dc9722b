from batchscope.reports.figures.step_time import tabulate_step_time

from ...findings.curves import analyze_losses, make_curve


def test_a_step_takes_what_it_was_timed_at() -> None:
    curves = [make_curve(8, seed=seed, step_seconds=0.002) for seed in range(2)] + [
        make_curve(16, seed=seed, step_seconds=0.003) for seed in range(2)
    ]

    frame = tabulate_step_time(analyze_losses(curves, 0.6))

    assert frame["batch_size"].to_list() == [8, 16]
    assert [round(x, 9) for x in frame["milliseconds"]] == [2.0, 3.0]


def test_sizes_that_were_not_timed_have_no_point() -> None:
    curves = [make_curve(8, seed=seed, step_seconds=float("nan")) for seed in range(2)]

    assert tabulate_step_time(analyze_losses(curves, 0.6)).is_empty()
