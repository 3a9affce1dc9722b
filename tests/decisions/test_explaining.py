from batchscope.decisions.explaining import find_thin

from ..findings.curves import analyze_losses, make_curve


def test_what_the_choice_rests_on_is_said_once_for_all_sizes_it_is_true_of() -> None:
    reaching, missing = [1.0, 0.3, 0.05], [1.0, 0.8, 0.6]
    curves = [make_curve(16, lr=lr, seed=0, loss=reaching) for lr in (0.1, 0.2)]
    curves += [make_curve(8, lr=lr, seed=0, loss=reaching) for lr in (0.1, 0.2)]
    curves += [
        make_curve(32, seed=0, loss=reaching),
        make_curve(32, seed=1, loss=missing),
    ]
    analysis = analyze_losses(curves, 0.1)

    assert find_thin(analysis)[:4] == [
        "At 8 and 16 the best rate is the highest or the lowest tried.",
        "At 8 and 16 there is one seed at the best rate.",
        "At 32 there are 2 seeds at the best rate.",
        "At 32, 1 of 2 runs reached the target.",
    ]
