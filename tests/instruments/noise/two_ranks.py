"""Two gloo ranks train on their halves of the batches that one process then accumulates."""

import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from batchscope.estimate import Interval
from batchscope.instruments.noise.meter import NoiseMeter
from batchscope.instruments.noise.reading import NoiseReading
from batchscope.instruments.speed.bottleneck import time_all_reduce

STEPS = 60


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))


def batches() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(32, 6, generator=generator) for _ in range(STEPS)]


def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    return (model(x)[:, 0] - x.sum(1)).square().mean()


def train(model: nn.Module, halves: list[int]) -> NoiseReading:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with NoiseMeter(model, optimizer, every=1) as meter:
        for batch in batches():
            optimizer.zero_grad()
            for half in halves:
                part = batch[16 * half : 16 * half + 16]
                (loss_of(model, part) / len(halves)).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
        return meter.read()


def write(reading: NoiseReading) -> str:
    signal, noise = reading.gradient_squared, reading.noise_trace
    assert isinstance(signal, Interval)
    assert isinstance(noise, Interval)
    return f"{signal.value} {noise.value}"


if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    ranked = write(train(DistributedDataParallel(make_model()), [rank]))
    shared = time_all_reduce(1_000, torch.device("cpu"))
    assert isinstance(shared, Interval)
    if rank == 0:
        alone = write(train(make_model(), [0, 1]))
        with open("answers.txt", "w") as file:
            file.write(f"{alone}\n{ranked}\n{shared.value}\n")
    distributed.barrier()
    # Gloo's threads may let go of tensors while the interpreter ends, which aborts it
    # (https://github.com/pytorch/pytorch/pull/179291).
    os._exit(0)
