"""What the package promises, and what loads torch."""

import subprocess
import sys

import batchscope as bs

PROMISED = {
    "Adam",
    "Advisor",
    "AdamW",
    "Analysis",
    "BatchscopeError",
    "Budget",
    "CannotTell",
    "Estimate",
    "Groups",
    "Interval",
    "InvalidInput",
    "NoiseMeter",
    "NotIdentified",
    "OwnRun",
    "Prices",
    "Timing",
    "Trial",
    "Profile",
    "Recommendation",
    "SGD",
    "StoreError",
    "Preview",
    "Standing",
    "Study",
    "Target",
    "Task",
    "analyze",
    "analyze_groups",
    "bottleneck",
    "branch",
    "cost",
    "devices",
    "curvature",
    "energy",
    "fit",
    "fit_batch",
    "noise",
    "epochs",
    "examples",
    "extrapolate",
    "forecast",
    "figure",
    "higher",
    "metrics",
    "profile",
    "preview",
    "reach",
    "recommend",
    "report",
    "reproduce",
    "seconds",
    "steps",
    "status",
    "study",
    "table",
    "until_plateau",
    "until_target",
}


def test_the_package_exports_what_the_docs_show() -> None:
    assert set(bs.__all__) == PROMISED
    assert all(getattr(bs, name) is not None for name in PROMISED)


def load_and_look(*modules: str) -> bool:
    code = f"import sys, {', '.join(modules)}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return found.stdout.strip() == "True"


def test_importing_the_package_loads_no_torch() -> None:
    assert not load_and_look("batchscope")


def test_findings_and_decisions_load_no_torch() -> None:
    assert not load_and_look(
        "batchscope.findings.analysis", "batchscope.decisions.recommendation", "batchscope.records"
    )
