"""What a machine has to offer."""

import subprocess
import sys

import psutil
import pytest

from batchscope.training.devices import count_cores, count_free_cores


@pytest.mark.skipif(count_cores() < 2, reason="of one core none can be left out")
def test_cores_that_other_programs_keep_busy_are_not_free() -> None:
    busy = [
        subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=-1)
        for _ in range(psutil.cpu_count() or 1)
    ]
    try:
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        assert count_free_cores() < count_cores()
    finally:
        for process in busy:
            process.kill()
            process.communicate()
