from batchscope.findings.finding import Experiment, Finding, rank_findings


def test_what_is_settled_comes_first_and_what_is_cheap_to_settle_before_the_rest() -> None:
    dear = Finding(about="time", sentence="d", experiment=Experiment(what="x", runs=9))
    unknown = Finding(about="time", sentence="u", experiment=Experiment(what="x"))
    free = Finding(about="target", sentence="f", experiment=Experiment(what="x", runs=0))
    epochs = Finding(about="epochs", sentence="e", confidence=0.99)
    sure = Finding(about="why", sentence="s", confidence=0.99)
    unsure = Finding(about="why", sentence="n", confidence=0.96)

    ranked = rank_findings([unknown, dear, free, epochs, unsure, sure])

    assert [finding.sentence for finding in ranked] == ["s", "n", "e", "f", "d", "u"]


def test_an_open_finding_says_what_would_settle_it() -> None:
    experiment = Experiment(what="--seeds 6", runs=1)
    finding = Finding(about="why", sentence="Too few seeds.", experiment=experiment)

    assert str(finding) == "Too few seeds. To settle it: --seeds 6 (1 more run)."
    assert finding.to_dict() == {
        "about": "why",
        "sentence": "Too few seeds.",
        "confidence": None,
        "open": True,
        "experiment": {"what": "--seeds 6", "runs": 1},
    }
