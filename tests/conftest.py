"""Fixtures that are few and real: a small task, a store, PostgreSQL, a browser."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import torch
from hypothesis import settings

import batchscope as bs
from batchscope.studies.store import Store
from batchscope.workers.keeping import keeping_workers

# How long an example takes says how busy the machine is, not whether it holds.
settings.register_profile("batchscope", deadline=None)
settings.load_profile("batchscope")

REQUIRED = os.environ.get("BATCHSCOPE_REQUIRE", "").split(",")
INSTALL = {
    "chromium": "apt-get install chromium",
    "postgresql": "apt-get install postgresql",
}

SMALL_TASK = """
import torch
from torch import nn
import batchscope as bs

generator = torch.Generator().manual_seed(0)
x = torch.randn(96, 4, generator=generator)
y = (x.sum(1) > 0).long()
task = bs.Task(
    model=lambda: nn.Linear(4, 2),
    loss=lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1]),
    train=(x[:64], y[:64]),
    val=(x[64:], y[64:]),
    optimizer=bs.SGD(lr=0.3),
    budget=bs.epochs(2),
)
"""


# Files whose few tests start many processes: begun last, one of them would run beside nothing.
LONG_FILES = (
    "test_all_studies.py",
    "test_recorded_jobs.py",
    "test_interruption.py",
    "test_cli.py",
    "test_ray_pool.py",
    "test_docs.py",
    "test_verbs.py",
    "test_largest.py",
    "test_noisy_quadratic.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first."""
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


def need(component: str, is_there: bool) -> None:
    """Skip where a real component is absent, or fail where it was promised."""
    if is_there:
        return
    if component in REQUIRED:
        pytest.fail(f"{component} is required here and absent: {INSTALL[component]}")
    pytest.skip(f"{component} is absent: {INSTALL[component]}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    counts = {name: sum(f"{name} is absent" in text for text in reasons) for name in INSTALL}
    terminalreporter.write_line(f"Skipped for want of a component: {sum(counts.values())}")
    for component, times in counts.items():
        if times:
            terminalreporter.write_line(f"  {component}: {times} ({INSTALL[component]})")


@pytest.fixture(scope="session", autouse=True)
def workers_wait_for_the_next_test() -> Iterator[None]:
    """Processes that have loaded torch serve the studies of all tests with the same task."""
    with keeping_workers():
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def task() -> bs.Task:
    return make_task()


def make_task(**changes: object) -> bs.Task:
    """Two clouds in four dimensions, a linear model: a run takes milliseconds."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(96, 4, generator=generator)
    y = (x.sum(1) > 0).long()
    parts: dict[str, object] = {
        "model": lambda: torch.nn.Linear(4, 2),
        "loss": lambda model, batch: torch.nn.functional.cross_entropy(model(batch[0]), batch[1]),
        "train": (x[:64], y[:64]),
        "val": (x[64:80], y[64:80]),
        "test": (x[80:], y[80:]),
        "optimizer": bs.SGD(lr=0.1),
        "metrics": {"error": bs.metrics.error_rate},
        "budget": bs.epochs(3),
    }
    return bs.Task(**(parts | changes))  # type: ignore[arg-type]


def make_staying_task(**changes: object) -> bs.Task:
    """The same, with a lock: it stays in this process, and no worker has to be started."""
    lock = threading.Lock()

    def loss(model: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        with lock:
            return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

    return make_task(loss=loss, **changes)


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    path = tmp_path / "mytask.py"
    path.write_text(SMALL_TASK)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(str(tmp_path / "runs.db"), create=True)
    yield opened
    opened.close()


def run_module(
    module: str, *arguments: str, folder: Path, timeout: float = 240, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A Python module in a process of its own, in a folder."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=os.environ | environment,
        check=False,
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 5 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, *, leave: int) -> Path:
    """Fill a disk but for so many bytes."""
    filler = disk / "filler"
    filler.write_bytes(b"0" * (shutil.disk_usage(disk).free - leave))
    return filler


class PostgreSQL:
    """A real server on loopback.

    Attributes:
        url: of its database.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        need("postgresql", bool(found))
        self._prefix: list[str] = []
        if os.geteuid() == 0:
            self._prefix = ["runuser", "-u", "postgres", "--"]
            shutil.chown(folder, "postgres")
        self._tools, self._folder = found[-1], folder
        port = 20_000 + os.getpid() % 20_000
        self._options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")

    def start(self) -> None:
        self._run("pg_ctl", "-w", "-o", self._options, "-l", str(self._folder / "log"), "start")

    def make_database(self) -> str:
        """The URL of a new one."""
        name = f"b{uuid.uuid4().hex}"
        engine = sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        engine.dispose()
        return self.url.rpartition("/")[0] + f"/{name}"

    def stop(self) -> None:
        """As a crash does: nobody is asked."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def _run(self, tool: str, *arguments: str) -> None:
        where = ["-D", str(self._folder / "data")]
        subprocess.run(
            [*self._prefix, str(self._tools / tool), *where, *arguments],
            check=True,
            capture_output=True,
        )


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgreSQL]:
    """A real PostgreSQL that lives as long as the tests."""
    # The folders of pytest are closed to its user, again whenever other tests begin.
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQL(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def postgresql(
    postgresql_server: PostgreSQL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of an empty database; what has no store to lie beside is written into a folder."""
    monkeypatch.chdir(tmp_path)
    return postgresql_server.make_database()
