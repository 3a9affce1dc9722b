"""How far a net, and each of its layers, goes from where it began."""

from collections.abc import Iterator, Mapping
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from batchscope.replications.published import Figure, Line

Array = npt.NDArray[np.float32]

_BINS = 60


class FromStart(nn.Module):
    """A net that remembers its initial weights."""

    start: torch.Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("start", _flatten(net).clone())

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, self.net(inputs))


def _flatten(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def distance_from_start(model: nn.Module, batch: Any) -> torch.Tensor:
    """How far the weights are from where they began; the same for every batch."""
    del batch
    flat = torch.cat([parameter.flatten() for parameter in model.parameters()])
    return torch.dist(flat, cast(FromStart, model).start)


class Layers(TypedDict):
    """What training made of the layers.

    Attributes:
        apart: name of a net -> how far each layer went.
        middles: of the bins of the last hidden layer's weights.
        densities: the initial weights and each net -> the density in each bin.
    """

    apart: dict[str, list[float]]
    middles: list[float]
    densities: dict[str, list[float]]


def compare_layers(nets: Mapping[str, FromStart]) -> Layers:
    """What trainings from the same initial weights made of the layers."""
    weights: dict[str, Array] = {}
    for name, net in nets.items():
        now, start = list(_weights(net))[-2]
        weights |= {"initial": start, name: now}
    most = max(float(np.abs(each).max()) for each in weights.values())
    edges = np.linspace(-most, most, _BINS + 1)
    return Layers(
        apart={name: measure_layers(net) for name, net in nets.items()},
        middles=((edges[1:] + edges[:-1]) / 2).tolist(),
        densities={
            name: np.histogram(each, edges, density=True)[0].tolist()
            for name, each in weights.items()
        },
    )


def measure_layers(model: FromStart) -> list[float]:
    """How far the weight of each layer is from where it began, over how large it was there."""
    return [
        float(np.linalg.norm(now - start) / np.linalg.norm(start)) for now, start in _weights(model)
    ]


def _weights(model: FromStart) -> Iterator[tuple[Array, Array]]:
    """Of each layer the weight now and where it began; offsets are left out."""
    at = 0
    for now in model.net.parameters():
        start = model.start[at : at + now.numel()].view_as(now)
        at += now.numel()
        if now.ndim > 1:
            yield now.detach().numpy(), start.numpy()


def draw_layers(found: Layers, *, epochs: int) -> tuple[Figure, ...]:
    """Figures of what so many epochs made of the layers."""
    return (
        Figure(
            title=f"Distance of each layer after {epochs} epochs, as a share of its initial size, "
            "one seed",
            x="layer",
            y="distance over initial norm",
            lines=tuple(
                Line(name=name, places=list(range(1, len(apart) + 1)), values=apart)
                for name, apart in found["apart"].items()
            ),
            logarithmic=(False, False),
        ),
        Figure(
            title=f"Weights of the last hidden layer after {epochs} epochs, one seed",
            x="weight",
            y="density",
            lines=tuple(
                Line(name=name, places=found["middles"], values=heights)
                for name, heights in found["densities"].items()
            ),
            logarithmic=(False, False),
        ),
    )
