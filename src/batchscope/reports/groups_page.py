"""The page of several jobs: a row each."""

from collections.abc import Mapping
from pathlib import Path

from batchscope.errors import BatchscopeError
from batchscope.findings.analysis import Analysis
from batchscope.findings.growth import Growth
from batchscope.reports.page import make_environment, write_whole


def report_groups(
    found: Mapping[str, Analysis | BatchscopeError],
    path: str,
    *,
    column: str,
    growth: Growth | None,
) -> str:
    """Write one page for all jobs of a table, and return its absolute path.

    Raises:
        StoreError: the page cannot be written.
    """
    jobs = {name: job for name, job in found.items() if isinstance(job, Analysis)}
    failed = {name: str(job).splitlines()[0] for name, job in found.items() if name not in jobs}
    text = (
        make_environment()
        .get_template("groups.html.jinja")
        .render(
            title=f"{len(found)} jobs, by {column}",
            column=column,
            jobs=jobs,
            failed=failed,
            growth=growth,
        )
    )
    return write_whole(text, Path(path))
