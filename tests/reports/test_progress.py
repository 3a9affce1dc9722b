import io

from rich.console import Console

from batchscope.reports.progress import TerminalProgress


def test_the_live_view_shows_done_running_with_its_loss_and_what_was_saved() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, legacy_windows=False)

    with TerminalProgress(console) as watcher:
        watcher.expect(100.0)
        watcher.begin("batch 32, rate 0.1, seed 0")
        watcher.advance("batch 32, rate 0.1, seed 0", 30.0, loss=0.4321)
        watcher.begin("batch 64, rate 0.1, seed 0 and 2 more together")
        watcher.spare(10.0)
        watcher.end("batch 64, rate 0.1, seed 0 and 2 more together", runs=3)

    shown = screen.getvalue()
    assert "3 runs done" in shown
    assert "batch 32, rate 0.1, seed 0" in shown
    assert "train loss 0.432" in shown
    assert "saved by stopping runs early: 25%" in shown


def test_without_a_terminal_only_sentences_are_shown() -> None:
    screen = io.StringIO()

    with TerminalProgress(Console(file=screen, width=80)) as watcher:
        watcher.say("About 12 runs.")
        watcher.begin("batch 32, rate 0.1, seed 0")
        watcher.end("batch 32, rate 0.1, seed 0", runs=1)

    assert screen.getvalue() == "About 12 runs.\n"
