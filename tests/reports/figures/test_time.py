from dataclasses import replace

from batchscope.reports.figures.time import BUDGET, TARGET, tabulate_time

from ...findings.curves import analyze_losses, make_curve


def test_the_whole_budget_is_drawn_only_where_runs_spent_it() -> None:
    curves = [
        make_curve(size, seed=seed, loss=[1.0, 0.4, 0.05 + 0.01 * seed])
        for size in (8, 16)
        for seed in (0, 1)
    ]
    analysis = analyze_losses(curves, 0.1)

    whole, race = (
        set(tabulate_time(replace(analysis, to_target_only=only))["series"])
        for only in (False, True)
    )

    assert whole == {BUDGET, TARGET}
    assert race == {TARGET}
