from batchscope.reports.figures.epochs import TURNS, draw_epochs, tabulate_epochs

from .analyses import analyze_overfitting


def test_a_bar_ends_where_validation_stops_improving_and_a_mark_says_where_it_turns() -> None:
    frame = tabulate_epochs(analyze_overfitting())

    # An epoch is 160 images: one look at 16, half of one at 32.
    assert frame.row(0) == (16, 2.0, 2.0, 4.0)
    assert frame.row(1) == (32, 8.0, None, 8.0)
    figure = draw_epochs(frame, unit="epochs")
    improves, goes_on, turns = figure.data
    assert list(improves.x) == [2.0, 8.0]
    assert list(goes_on.x) == [2.0, 0.0]
    assert (turns.name, list(turns.y)) == (TURNS, ["16"])
