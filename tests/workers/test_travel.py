import threading
from pathlib import Path

import pytest

from batchscope.errors import InvalidTask, TaskCannotTravel
from batchscope.workers.travel import (
    FileTask,
    ModuleTask,
    load_task,
    own_modules,
    pack_task,
    read_source,
)

from ..conftest import SMALL_TASK, make_task


def test_a_task_in_a_file_is_made_from_the_text_that_was_read(task_file: Path) -> None:
    source = read_source(f"{task_file}:task")
    task_file.write_text("raise SystemExit('edited meanwhile')")

    task = load_task(source)

    assert task.train_size == 64
    assert task.name == "mytask.py:task"


def test_a_name_left_out_is_task(task_file: Path) -> None:
    assert isinstance(read_source(str(task_file)), FileTask)
    assert load_task(read_source(str(task_file))).train_size == 64


def test_a_syntax_error_is_shown_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef f(:\n")

    with pytest.raises(InvalidTask, match="SyntaxError") as caught:
        load_task(read_source(f"{path}:task"))

    assert "line 2" in str(caught.value)


def test_an_unknown_name_lists_the_tasks_of_the_file(task_file: Path) -> None:
    with pytest.raises(InvalidTask, match="one of its tasks: task"):
        load_task(read_source(f"{task_file}:taks"))


def test_a_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidTask, match="cannot read nowhere.py"):
        read_source("nowhere.py:task")


def test_a_task_with_lambdas_and_closures_travels() -> None:
    offset = 3

    task = make_task(loss=lambda model, batch: model(batch[0]).mean() + offset)

    assert load_task(pack_task(task)).train_size == 64


def test_what_cannot_travel_is_named(tmp_path: Path) -> None:
    lock = threading.Lock()

    class Reader:
        def __init__(self) -> None:
            self.handle = (tmp_path / "data").open("w")

        def __call__(self, example: object) -> float:
            return 1.0

    for changes, name in (
        ({"length": Reader()}, "task.length.handle is a TextIOWrapper"),
        ({"loss": lambda model, batch: lock and model(batch[0]).mean()}, "task.loss -> lock"),
    ):
        with pytest.raises(TaskCannotTravel) as caught:
            pack_task(make_task(**changes))
        assert name in " ".join(str(caught.value).split())


def test_a_file_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "my_neighbour_module.py").write_text("SIZE = 64\n")
    path = tmp_path / "with_neighbour.py"
    path.write_text("from my_neighbour_module import SIZE\n" + SMALL_TASK)

    assert load_task(read_source(f"{path}:task")).train_size == 64


def test_only_modules_of_this_package_are_loaded_ahead_of_a_task() -> None:
    built_in = ModuleTask(module="batchscope.gallery.digits_mlp", name="task", label="digits-mlp")
    theirs = ModuleTask(module="somebody.tasks", name="task", label="somebody.tasks")

    assert own_modules(built_in, "batchscope.studies.executor") == [
        "batchscope.studies.executor",
        "batchscope.gallery.digits_mlp",
    ]
    assert own_modules(theirs, "__main__") == []
    assert own_modules(FileTask(path="x.py", text="", name="task")) == []
    assert own_modules(pack_task(make_task())) == []
    assert own_modules(pack_task(load_task(built_in))) == ["batchscope.gallery.digits_mlp"]
