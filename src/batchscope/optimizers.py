"""Optimizers by name, and how their constants move with the batch size."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import nn

from batchscope.errors import InvalidInput
from batchscope.records import HyperParameters

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@runtime_checkable
class OptimizerSpec(Protocol):
    """An optimizer that can be made at any batch size and learning rate."""

    @property
    def name(self) -> str:
        """The optimizer's name in reports."""
        ...

    @property
    def lr(self) -> float | None:
        """The rate to begin the search at; None where only a built optimizer tells."""
        ...

    def hyper_parameters(self, *, batch_size: int, lr: float) -> HyperParameters:
        """All constants as they are used at this batch size."""
        ...

    def build(
        self, parameters: Iterable[nn.Parameter], hyper_parameters: HyperParameters
    ) -> torch.optim.Optimizer:
        """The optimizer with these constants."""
        ...


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent; its momentum does not move with the batch size."""

    lr: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        _check_lr(self.lr)

    @property
    def name(self) -> str:
        """The optimizer's name in reports."""
        return "SGD"

    def hyper_parameters(self, *, batch_size: int, lr: float) -> HyperParameters:
        """All constants; none depends on the batch size."""
        return {
            "lr": lr,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
            "nesterov": self.nesterov,
        }

    def build(
        self, parameters: Iterable[nn.Parameter], hyper_parameters: HyperParameters
    ) -> torch.optim.Optimizer:
        """A fused torch.optim.SGD."""
        given = hyper_parameters
        return torch.optim.SGD(
            parameters,
            lr=float(given["lr"]),
            momentum=float(given["momentum"]),
            weight_decay=float(given["weight_decay"]),
            nesterov=bool(given["nesterov"]),
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam, whose beta2 keeps its half-life in examples as the batch size moves.

    Attributes:
        betas, eps, weight_decay: as torch has them, at `reference_batch_size`.
        reference_batch_size: in examples; at batch size B, beta2 is
            betas[1] ** (B / reference_batch_size).

    Source: Marek et al. 2025, the half-life rule: t_half = B ln 2 / -ln beta2 is kept.
    """

    lr: float
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    reference_batch_size: int = 128
    _torch_class: ClassVar[type[torch.optim.Adam]] = torch.optim.Adam

    def __post_init__(self) -> None:
        _check_lr(self.lr)
        if self.reference_batch_size < 1:
            raise InvalidInput(
                f"a reference batch size of {self.reference_batch_size}",
                where=self.name,
                expected="at least 1 example",
                do="give the batch size at which beta2 was chosen",
            )

    @property
    def name(self) -> str:
        """The optimizer's name in reports."""
        return type(self).__name__

    def hyper_parameters(self, *, batch_size: int, lr: float) -> HyperParameters:
        """All constants, beta2 moved to this batch size."""
        return {
            "lr": lr,
            "beta1": self.betas[0],
            "beta2": self.betas[1] ** (batch_size / self.reference_batch_size),
            "eps": self.eps,
            "weight_decay": self.weight_decay,
        }

    def build(
        self, parameters: Iterable[nn.Parameter], hyper_parameters: HyperParameters
    ) -> torch.optim.Optimizer:
        """A fused optimizer of torch's own."""
        given = hyper_parameters
        return self._torch_class(
            parameters,
            lr=float(given["lr"]),
            betas=(float(given["beta1"]), float(given["beta2"])),
            eps=float(given["eps"]),
            weight_decay=float(given["weight_decay"]),
            fused=True,
        )


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """Adam with decoupled weight decay; beta2 moves as Adam's does."""

    weight_decay: float = 0.01
    _torch_class: ClassVar[type[torch.optim.Adam]] = torch.optim.AdamW


@dataclass(frozen=True)
class FromFactory:
    """Somebody's own optimizer: parameters in, a torch optimizer with `lr` out.

    Groups with rates of their own keep their ratio to the first one. Its other constants stay
    what the factory made them, so an Adam made here keeps its beta2 at every batch size.
    """

    factory: OptimizerFactory
    lr: float | None = None

    @property
    def name(self) -> str:
        """The factory's own name."""
        name = getattr(self.factory, "__name__", type(self.factory).__name__)
        return "custom" if name == "<lambda>" else str(name)

    def hyper_parameters(self, *, batch_size: int, lr: float) -> HyperParameters:
        """The rate alone; the source of the factory is part of the task's fingerprint."""
        return {"lr": lr}

    def build(
        self, parameters: Iterable[nn.Parameter], hyper_parameters: HyperParameters
    ) -> torch.optim.Optimizer:
        """What the factory makes, with its rates scaled so that the first is `lr`."""
        optimizer = self.factory(parameters)
        first = read_lr(optimizer)
        for group in optimizer.param_groups:
            group["lr"] = float(hyper_parameters["lr"]) * group["lr"] / first
        return optimizer


def starting_rate(spec: OptimizerSpec, parameters: Iterable[nn.Parameter]) -> float:
    """The rate to begin a search at: the specification's, or that of what the factory makes."""
    if isinstance(spec, FromFactory):
        return read_lr(spec.factory(parameters))
    assert spec.lr is not None
    return spec.lr


def read_lr(optimizer: torch.optim.Optimizer) -> float:
    """The rate of the first parameter group.

    Raises:
        InvalidInput: the optimizer has none.
    """
    rate: object = optimizer.param_groups[0].get("lr")
    if not isinstance(rate, (int, float)) or not rate > 0:
        raise InvalidInput(
            f"the optimizer {type(optimizer).__name__} has the learning rate {rate!r}",
            where="task.optimizer",
            expected="a torch optimizer with `lr` above 0 in its parameter groups",
            do="pass for example bs.SGD(lr=0.1, momentum=0.9)",
        )
    return float(rate)


def constants_to_paste(hyper_parameters: HyperParameters) -> Mapping[str, object]:
    """The constants as torch's optimizers take them, defaults left out."""
    given = dict(hyper_parameters)
    for of_the_task in ("clip_norm", "ghost_batch"):
        given.pop(of_the_task, None)
    result: dict[str, object] = {"lr": given.pop("lr")}
    if "beta1" in given:
        result["betas"] = (given.pop("beta1"), round(float(given.pop("beta2")), 6))
    if given.get("eps") == 1e-8:
        del given["eps"]
    # AdamW decays by default, so a decay of 0 has to be said.
    kept = {"weight_decay"} if "betas" in result else set[str]()
    return result | {name: value for name, value in given.items() if value or name in kept}


def _check_lr(lr: float) -> None:
    if not lr > 0:
        raise InvalidInput(
            f"a learning rate of {lr}",
            where="task.optimizer",
            expected="a rate above 0",
            do="give the rate that you would use without a search",
        )
