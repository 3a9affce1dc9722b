import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.data import Dataset

from batchscope.studies.fingerprint import Fingerprint, fingerprint
from batchscope.workers.travel import load_task, read_source

from ..conftest import SMALL_TASK, make_task


def of_file(path: Path) -> Fingerprint:
    source = read_source(f"{path}:task")
    return fingerprint(load_task(source), source)


def test_an_edit_of_the_file_is_named(task_file: Path) -> None:
    before = of_file(task_file)
    task_file.write_text(SMALL_TASK.replace("lr=0.3", "lr=0.2"))

    assert of_file(task_file).changed_parts(before) == ("its source",)


def test_other_data_and_weights_are_named(task_file: Path) -> None:
    before = of_file(task_file)
    task_file.write_text(SMALL_TASK.replace("manual_seed(0)", "manual_seed(1)"))
    assert of_file(task_file).changed_parts(before) == ("its source", "its data")

    task_file.write_text(SMALL_TASK.replace("nn.Linear(4, 2)", "nn.Linear(4, 3)"))
    assert of_file(task_file).changed_parts(before) == ("its source", "its initial weights")


def test_an_edit_of_a_module_beside_the_file_counts(tmp_path: Path) -> None:
    neighbour = tmp_path / "my_fingerprint_neighbour.py"
    neighbour.write_text("SIZE = 1\n")
    path = tmp_path / "main_task.py"
    path.write_text("import my_fingerprint_neighbour\n" + SMALL_TASK)
    before = of_file(path)

    neighbour.write_text("SIZE = 2\n")

    assert of_file(path).changed_parts(before) == ("its source",)


def test_a_task_built_in_python_is_told_by_its_functions() -> None:
    task = make_task()
    other = replace(task, loss=lambda model, batch: model(batch[0]).square().mean())

    assert fingerprint(task, None) == fingerprint(make_task(), None)
    assert fingerprint(other, None).changed_parts(fingerprint(task, None)) == ("its source",)


def test_the_value_that_a_function_closes_over_counts() -> None:
    def make(scale: float):
        return make_task(loss=lambda model, batch: scale * model(batch[0]).mean())

    assert fingerprint(make(1.0), None) != fingerprint(make(2.0), None)


def test_random_examples_have_a_steady_fingerprint() -> None:
    class Augmented(Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 40

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.rand(4), index % 2

    task = make_task(train=Augmented())

    assert fingerprint(task, None) == fingerprint(task, None)


def test_another_process_finds_the_same_fingerprint(task_file: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from batchscope.studies.fingerprint import fingerprint\n"
        "from batchscope.workers.travel import load_task, read_source\n"
        "source = read_source(sys.argv[1])\n"
        "print(fingerprint(load_task(source), source).digest)\n"
    )

    found = subprocess.run(
        [sys.executable, "-c", code, f"{task_file}:task"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == of_file(task_file).digest


def test_two_tasks_of_one_file_are_two_tasks(tmp_path: Path) -> None:
    path = tmp_path / "two_tasks.py"
    path.write_text(SMALL_TASK + "other = task\n")

    digests = {
        fingerprint(load_task(source), source).digest
        for source in (read_source(f"{path}:task"), read_source(f"{path}:other"))
    }

    assert len(digests) == 2


def test_an_optimizer_made_by_a_function_has_a_steady_fingerprint() -> None:
    task = make_task(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    again = make_task(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))

    assert fingerprint(task, None) == fingerprint(again, None)


def test_what_a_typed_in_function_calls_counts() -> None:
    def define(scale: int) -> dict[str, object]:
        names: dict[str, object] = {"__name__": "typed_in"}
        exec(
            f"def scaled(x): return {scale} * x\ndef loss(m, b): return scaled(m(b[0])).mean()",
            names,
        )
        return names

    digests = {fingerprint(make_task(loss=define(n)["loss"]), None).digest for n in (1, 1, 2)}

    assert len(digests) == 2
