"""Two gloo ranks of which one runs out of memory: both take smaller pieces, and share one mean."""

import os

import torch
from torch import distributed, nn
from torch.nn import functional as F

import batchscope as bs

if __name__ == "__main__":
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(16, 5, generator=generator), torch.randint(0, 3, (16,), generator=generator)
    torch.manual_seed(0)
    model = nn.Linear(5, 3)
    F.cross_entropy(model(x), y).backward()
    expected = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()

    def loss(part: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        if rank == 1 and len(part[0]) > 4:
            raise MemoryError
        return F.cross_entropy(model(part[0]), part[1])

    step = bs.fit_batch(loss, effective=16)
    step((x[rank::2], y[rank::2]))
    found = [p.grad for p in model.parameters() if p.grad is not None]
    same = all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
    answers: list[object] = [None, None]
    distributed.all_gather_object(answers, f"{step.micro_batch} {same}")
    if rank == 0:
        with open("answers.txt", "w") as file:
            file.write(" ".join(str(answer) for answer in answers))
    distributed.barrier()
    # Gloo's threads may let go of tensors while the interpreter ends, which aborts it
    # (https://github.com/pytorch/pytorch/pull/179291).
    os._exit(0)
