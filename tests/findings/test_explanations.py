import pytest

from batchscope.budget import Target
from batchscope.estimate import Interval, NotIdentified
from batchscope.findings.collapse import Collapse
from batchscope.findings.critical import CriticalBatchSize
from batchscope.findings.explanations import explain_collapse, explain_critical

NOTHING = NotIdentified(
    reason="nobody counted steps", remedy="--examples-per-epoch N", unit="steps"
)
CRITICAL = CriticalBatchSize(
    target=Target("error", 0.1, "<="),
    b_2x=Interval(value=236.0, low=183.0, high=316.0, unit="examples"),
    b_2x_hyperbola=Interval(value=294.0, low=248.0, high=329.0, unit="examples"),
    b_20=Interval(value=71.0, low=29.0, high=125.0, unit="examples"),
    smallest=2,
    least_steps=NOTHING,
    alpha=NOTHING,
    regimes={},
    falling=(4,),
    warnings=(),
)


def test_where_epochs_stand_for_examples_a_batch_is_still_counted_in_examples() -> None:
    at_2x, at_20, falling = (str(finding) for finding in explain_critical(CRITICAL, "epochs"))

    assert "236 (183 to 316) examples; the two-parameter hyperbola gives 294 (248 to 329)" in at_2x
    assert "where epochs are 1.2 times those of batch size 2" in at_20
    assert "71 (29 to 125) examples" in at_20
    assert "needs fewer epochs than a smaller one" in falling


def test_a_batch_of_images_is_counted_in_images() -> None:
    at_2x, *_ = (str(finding) for finding in explain_critical(CRITICAL, "images"))

    assert "316) images; the two-parameter hyperbola gives 294 (248 to 329) images" in at_2x


@pytest.mark.parametrize(
    ("off", "said"),
    [
        (("64-0",), "Off that curve lies run 64-0."),
        (("64-0", "8-1"), "2 runs lie off that curve, such as 64-0, 8-1."),
    ],
)
def test_runs_off_the_curve_are_counted(off: tuple[str, ...], said: str) -> None:
    gamma = Interval(value=0.4, low=-0.3, high=1.1, unit="")
    found = Collapse(
        gamma=gamma, axis="cannot tell", scatter=(0.1, 0.1, 0.1), off_curve=off, levels=()
    )

    assert str(explain_collapse(found)[-1]) == said
