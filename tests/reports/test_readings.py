import math
from pathlib import Path

import plotly.graph_objects as go
import pytest

import batchscope as bs
from batchscope.estimate import Estimate, Interval, NotIdentified
from batchscope.reports.figures.estimates import draw_estimates, tabulate_estimates
from batchscope.reports.readings import READINGS, describe

from ..conftest import make_task

DOCS = Path(__file__).parents[2] / "docs"
VERBS = {
    "noise": lambda task: bs.noise(task),
    "noise by line": lambda task: bs.noise(task, method="line", after="0"),
    "noise by sign": lambda task: bs.noise(task, method="sign", after="0"),
    "noise by spread": lambda task: bs.noise(task, method="spread"),
    "noise in training": lambda task: bs.noise(task, method="training", budget=bs.epochs(4)),
    "branch": lambda task: bs.branch(task, batch_size=4, seeds=3),
    "curvature": lambda task: bs.curvature(task),
    "energy": lambda task: bs.energy(task, watts=65.0),
    "bottleneck": lambda task: bs.bottleneck(task),
    "fit, predicted": lambda task: bs.fit(task, memory="2GiB", device="cuda"),
    "fit": lambda task: bs.fit(task, largest=1, memory="2GiB", device="cpu"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_reading_has_a_table_a_figure_and_sentences(verb: str) -> None:
    reading = VERBS[verb](make_task())

    assert isinstance(reading, READINGS)
    page = (DOCS / "command-line.md").read_text()
    assert [key for key in reading.to_dict() if f"`{key}`" not in page] == []
    frame, figure, shown = bs.table(reading), bs.figure(reading), describe(reading)
    assert len(frame) >= 1
    assert isinstance(figure, go.Figure)
    assert figure.layout.title.text
    assert figure.layout.xaxis.title.text
    assert all(sentence.endswith((".", "?")) for sentence in shown.sentences)
    assert "object at" not in repr(reading)


ROWS: list[tuple[str, Estimate]] = [
    ("known", Interval(value=2.0, low=1.0, high=4.0, unit="images")),
    ("open", Interval(value=2.0, low=1.5, high=math.inf, unit="images")),
    ("bounded", NotIdentified(reason="too little", remedy="more", unit="images", low=3.0)),
    ("unknown", NotIdentified(reason="too little", remedy="more")),
]


def test_what_is_not_identified_stays_in_the_table_and_in_the_figure() -> None:
    frame = tabulate_estimates(ROWS)

    assert frame["value"].to_list() == [2.0, 2.0, None, None]
    assert frame["high"].to_list() == [4.0, None, None, None]
    figure = draw_estimates(frame, title="a < b", quantity="images")
    assert {name for trace in figure.data for name in trace.y} == {"known", "open", "bounded"}
    assert [note.text for note in figure.layout.annotations] == ["not identified"]
    assert figure.layout.title.text == "a &lt; b"
