"""What is trained: model, data, loss, optimizer, metrics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch.utils.data import TensorDataset

from batchscope.budget import Budget, Direction, Target, epochs
from batchscope.errors import InvalidInput, InvalidTask
from batchscope.ghost import WithGhostBatches
from batchscope.metrics import BatchFunction, is_higher_better
from batchscope.optimizers import FromFactory, OptimizerFactory, OptimizerSpec
from batchscope.records import Precision

_TAKEN = (
    "loss",
    "step",
    "examples",
    "seconds",
    "learning_rate",
    "gradient_norm",
    "run",
    "batch_size",
    "seed",
    "status",
)
_PRECISIONS = ("float32", "bf16", "fp16")


class Examples(Protocol):
    """A map-style data set."""

    def __len__(self) -> int:
        """How many examples there are."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """One example."""
        ...


Data = Examples | Sequence[torch.Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is trained.

    Attributes:
        model: called once per run, after seeding.
        loss: loss(model, batch) -> mean loss over the batch, a scalar.
        train, val, test: map-style data sets, or tensors of one first dimension. Without `test`
            reports say that rates were chosen on the data they show.
        optimizer: a specification, or any function of parameters that returns a torch optimizer.
        metrics: name -> metric(model, batch) -> mean over the batch; lower is better unless
            marked with `higher`. Their names may not be those of other columns.
        name: in reports; the command line fills it in.
        collate: a list of examples -> a batch; None for torch's default.
        length: example -> its weight in the mean loss, such as its tokens; None where every
            example weighs alike.
        unit: what one example is called.
        precision: "float32", "bf16" (autocast) or "fp16" (autocast and loss scaling).
        clip_norm: the gradient's largest norm; None for no clipping.
        budget: what a run may spend unless said otherwise.
        target: what a run must reach; None to derive it from the runs.
        ghost_batch: examples that batch norm sees at a time in training, at every batch size; None
            for the whole batch.
        batch_coupled: the loss of an example depends on the others in its batch, so that
            accumulation would change it.

    Raises:
        InvalidTask: a part is missing or contradicts another.
    """

    model: Callable[[], nn.Module]
    loss: BatchFunction
    train: Data
    val: Data
    test: Data | None = None
    optimizer: OptimizerSpec | OptimizerFactory
    metrics: Mapping[str, BatchFunction] = field(default_factory=dict[str, BatchFunction])
    name: str = "task"
    collate: Callable[[list[Any]], Any] | None = None
    length: Callable[[Any], float] | None = None
    unit: str = "examples"
    precision: Precision = "float32"
    clip_norm: float | None = None
    budget: Budget = field(default_factory=lambda: epochs(25))
    target: Target | None = None
    ghost_batch: int | None = None
    batch_coupled: bool = False

    def __post_init__(self) -> None:
        for part in ("train", "val", "test"):
            object.__setattr__(self, part, _as_dataset(getattr(self, part), part))
        if not isinstance(self.optimizer, OptimizerSpec):
            object.__setattr__(self, "optimizer", FromFactory(self.optimizer))
        for part, made, example in (
            ("budget", Budget, "bs.epochs(25)"),
            ("target", Target | None, 'bs.reach("error", 0.05)'),
        ):
            given = getattr(self, part)
            if not isinstance(given, made):
                raise _invalid(f"the {part} {given!r}", f"one such as {example}", "write it so")
        for name, metric in self.metrics.items():
            if not callable(metric):
                raise _invalid(
                    f"the metric {name!r} is {metric!r}",
                    "a function of model and batch",
                    "give for example bs.metrics.error_rate",
                )
            if name in _TAKEN or name.startswith(("train_", "test_", "val_")):
                raise _invalid(
                    f"a metric is named {name!r}",
                    "a name that is no other column's and does not begin with train_, val_, test_",
                    "rename it: it is computed on training, validation and test data alike",
                )
        if self.precision not in _PRECISIONS:
            raise _invalid(
                f"the precision {self.precision!r}", f"one of {', '.join(_PRECISIONS)}", "mend it"
            )
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise _invalid(
                f"clip_norm={self.clip_norm}", "a norm above 0", "leave it out for no clipping"
            )
        if self.ghost_batch is not None:
            if self.ghost_batch < 2:
                raise _invalid(
                    f"ghost_batch={self.ghost_batch}",
                    "at least 2 examples, of which there is a variance",
                    "leave it out to normalise over the whole batch",
                )
            # Made anew from this task, as replace() does, the model must not be wrapped twice.
            plain = self.model.model if isinstance(self.model, WithGhostBatches) else self.model
            object.__setattr__(self, "model", WithGhostBatches(plain, self.ghost_batch))
        if self.target is not None:
            self.resolve_target(self.target)

    @property
    def datasets(self) -> Mapping[str, Examples]:
        """The data sets that there are, by name."""
        parts = {"train": self.train, "val": self.val, "test": self.test}
        return {name: cast(Examples, data) for name, data in parts.items() if data is not None}

    @property
    def train_size(self) -> int:
        """Examples to train on."""
        return len(self.train)

    @property
    def optimizer_spec(self) -> OptimizerSpec:
        """The optimizer, whichever way it was given."""
        return cast(OptimizerSpec, self.optimizer)

    @property
    def quality(self) -> str:
        """The metric that quality is judged by: the target's, or the first, or `val_loss`."""
        if self.target is not None:
            return self.target.metric
        return next(iter(self.metrics), "val_loss")

    def is_higher_better(self, metric: str) -> bool:
        """Whether a metric, with or without `train_` before it, is better when higher."""
        plain = metric.removeprefix("train_").removeprefix("test_")
        return plain in self.metrics and is_higher_better(self.metrics[plain])

    def resolve_target(self, target: Target) -> Target:
        """The target with its direction, checked against the metrics.

        Raises:
            InvalidInput: there is no such metric, or it is better in the other direction.
        """
        known = ["val_loss", "train_loss", *self.metrics, *(f"train_{m}" for m in self.metrics)]
        if target.metric not in known:
            raise InvalidInput(
                f"the task has no metric {target.metric!r}",
                where="target",
                expected=f"one of {', '.join(known)}",
                do=f'write for example "{self._example_target()}"',
            )
        better: Direction = ">=" if self.is_higher_better(target.metric) else "<="
        return target.towards(better, where="target")

    def _example_target(self) -> str:
        metric = next(iter(self.metrics), "val_loss")
        return f"{metric}>=0.95" if self.is_higher_better(metric) else f"{metric}<=0.05"


def tensors_of(data: Examples) -> tuple[torch.Tensor, ...] | None:
    """The tensors behind a data set whose examples are rows; None for any other."""
    return tuple(data.tensors) if isinstance(data, TensorDataset) else None


def _as_dataset(given: object, part: str) -> Examples | None:
    if given is None and part == "test":
        return None
    data: Any = (given,) if isinstance(given, torch.Tensor) else given
    if isinstance(data, (tuple, list)) and all(
        isinstance(x, torch.Tensor) for x in cast(Sequence[object], data)
    ):
        tensors = cast(Sequence[torch.Tensor], data)
        sizes = {len(x) for x in tensors}
        if len(sizes) > 1:
            raise _invalid(
                f"the tensors of `{part}` have {sorted(sizes)} rows",
                "one first dimension for all of them",
                "check that inputs and labels belong together",
            )
        data = TensorDataset(*tensors)
    plain = cast(object, data)
    if not hasattr(plain, "__len__") or not hasattr(plain, "__getitem__"):
        raise _invalid(
            f"`{part}` is a {type(given).__name__}",
            "a map-style data set, a TensorDataset or a tuple of tensors",
            "give it __len__ and __getitem__; an iterable alone has no epochs",
        )
    dataset = cast(Examples, data)
    if len(dataset) == 0:
        raise _invalid(
            f"`{part}` has no examples", "at least one", "check the path or the split it comes from"
        )
    return dataset


def _invalid(what: str, expected: str, do: str) -> InvalidTask:
    return InvalidTask(what, "bs.Task", expected, do)
