"""Results shown richly in notebooks: a table where a plain repr would be."""

import importlib
import sys
from typing import Any

_RESULTS = {
    "batchscope.instruments.branching": "Branching",
    "batchscope.instruments.curvature": "Curvature",
    "batchscope.instruments.energy": "Energy",
    "batchscope.instruments.memory.largest": "Fit",
    "batchscope.instruments.memory.predicting": "FitPrediction",
    "batchscope.instruments.noise.along": "NoiseAlong",
    "batchscope.instruments.noise.line_search": "LineSearch",
    "batchscope.instruments.noise.probe": "NoiseScale",
    "batchscope.instruments.noise.reading": "NoiseReading",
    "batchscope.instruments.noise.spread": "GradientSpread",
    "batchscope.instruments.noise.surge": "SignSurge",
    "batchscope.instruments.speed.bottleneck": "Bottleneck",
    "batchscope.verbs.profiling": "Profile",
    "batchscope.verbs.preview": "Preview",
    "batchscope.verbs.standing": "Standing",
    "batchscope.verbs.studying": "Study",
    "batchscope.findings.analysis": "Analysis",
    "batchscope.decisions.recommendation": "Recommendation",
}


def show_results_richly() -> None:
    """Tell the notebook that runs this process, if one does, how to show our results."""
    ipython = sys.modules.get("IPython")
    shell: Any = None if ipython is None else ipython.get_ipython()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    for module, name in _RESULTS.items():
        formatter.for_type_by_name(module, name, _as_html)


def _as_html(result: Any) -> str:
    displays = importlib.import_module("batchscope.reports.displays")
    return displays.table(result)._repr_html_()
