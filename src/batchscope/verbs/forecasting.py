"""Examples, steps and seconds to the target at batch sizes that were never run."""

from collections.abc import Sequence

from batchscope.budget import Target, parse_target
from batchscope.decisions.steps import Forecast, forecast_examples
from batchscope.errors import CannotTell, InvalidInput
from batchscope.verbs.analyzing import analyze
from batchscope.verbs.studying import Study


def forecast(
    study: Study | str,
    batch_sizes: Sequence[int],
    *,
    which: str | None = None,
    target: Target | str | None = None,
) -> Forecast:
    """Predict what batch sizes need that were never run, and how far such predictions are off.

    Args:
        study: what `study` returned, or what `analyze` reads.
        batch_sizes: to predict.
        which: a study's id or its task's name; None for the latest.
        target: None for the study's own, or one derived from its runs.

    Raises:
        InvalidInput: a batch size is below 1.
        CannotTell: there is no target that runs reached.
    """
    if not batch_sizes or min(batch_sizes) < 1:
        raise InvalidInput(
            f"batch sizes {list(batch_sizes)}",
            where="batch_sizes",
            expected="whole numbers from 1 on",
            do="name the batch sizes to predict",
        )
    wanted = parse_target(target) if isinstance(target, str) else target
    analysis = analyze(study, which=which, target=wanted)
    if analysis.target is None:
        raise CannotTell(
            f"study {analysis.study} has no target that its runs reached",
            where="forecast",
            expected="runs that reach a target",
            do="name one with --target",
        )
    return forecast_examples(analysis.tuned, analysis.target, batch_sizes)
