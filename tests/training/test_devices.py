"""What a machine has to offer."""

import subprocess
import sys

import psutil
import pytest

from batchscope.training.devices import count_busy, count_cores, count_free_cores


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
        count_busy.cache_clear()
        assert count_free_cores() < count_cores()
        looks = count_busy.cache_info().misses
        for _ in range(20):
            count_free_cores()
        # Once more where a period ended in between.
        assert count_busy.cache_info().misses <= looks + 1
    finally:
        for process in busy:
            process.kill()
            process.communicate()
