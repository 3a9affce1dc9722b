import subprocess
import sys

import pytest
import torch

from batchscope.errors import InvalidInput
from batchscope.instruments.memory.limits import find_limit, parse_bytes


@pytest.mark.parametrize(
    ("text", "amount"),
    [("8GiB", 8 * 2**30), ("512M", 2**29), ("1.5 gb", 3 * 2**29), ("4096", 4_096)],
)
def test_amounts_of_memory_are_read(text: str, amount: int) -> None:
    assert parse_bytes(text) == amount


@pytest.mark.parametrize("text", ["", "much", "-3GiB", "0", "8 GiBB"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is no amount of memory"):
        parse_bytes(text)


def test_without_a_limit_it_is_at_most_four_fifths_of_what_is_free() -> None:
    found = find_limit(torch.device("cpu"), None)

    assert found.amount > 0
    assert find_limit(torch.device("cpu"), "2GiB").amount == 2**31


def test_an_address_space_limit_is_found_where_it_is_the_smallest() -> None:
    code = (
        "import resource, torch\n"
        "from batchscope.instruments.memory.limits import find_limit\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**32 - 2**31, resource.RLIM_INFINITY))\n"
        "found = find_limit(torch.device('cpu'), None)\n"
        "print(found.amount == 2**31, found.kind)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split(maxsplit=1) == ["True", "address space\n"]
