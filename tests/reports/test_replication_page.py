from batchscope.replications.published import Figure, Line
from batchscope.reports.replication_page import choose_styles


def draw(*names: str) -> Figure:
    lines = tuple(Line(name=name, places=[1.0], values=[1.0]) for name in names)
    return Figure(title="", x="", y="", lines=lines)


def test_a_name_has_one_style_in_all_figures_and_no_two_of_a_figure_share_one() -> None:
    figures = [draw("32", "1,024"), draw("untrained", "32", "1,024"), draw("other", "1,024")]

    styles = choose_styles(figures)

    assert styles == {"32": 0, "1,024": 1, "untrained": 2, "other": 0}
