import math

import pytest
import torch
from torch import nn

import batchscope as bs
from batchscope.errors import InvalidInput
from batchscope.optimizers import FromFactory, constants_to_paste, starting_rate


@pytest.mark.parametrize("batch_size", [1, 32, 128, 2048])
def test_adams_beta2_keeps_its_half_life_in_examples(batch_size: int) -> None:
    optimizer = bs.Adam(lr=1e-3, betas=(0.9, 0.999), reference_batch_size=128)

    beta2 = float(optimizer.hyper_parameters(batch_size=batch_size, lr=1e-3)["beta2"])

    half_life = batch_size * math.log(2) / -math.log(beta2)
    assert half_life == pytest.approx(128 * math.log(2) / -math.log(0.999))


@pytest.mark.parametrize(
    "optimizer", [bs.SGD(lr=0.1, momentum=0.9), bs.Adam(lr=0.1), bs.AdamW(lr=0.1)]
)
def test_a_named_optimizer_steps_as_torchs_own(optimizer: bs.SGD | bs.Adam) -> None:
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    constants = optimizer.hyper_parameters(batch_size=128, lr=0.05)
    reference = getattr(torch.optim, optimizer.name)(
        theirs.parameters(), **constants_to_paste(constants)
    )
    built = optimizer.build(ours.parameters(), constants)

    for model, stepper in ((ours, built), (theirs, reference)):
        for value in (1.0, -2.0, 0.5):
            stepper.zero_grad()
            (model(torch.full((4, 3), value)) ** 2).mean().backward()
            stepper.step()

    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)


def test_groups_of_a_factory_keep_the_ratio_of_their_rates() -> None:
    model = nn.Linear(3, 2)

    def factory(parameters: object) -> torch.optim.Optimizer:
        weight, bias = parameters  # type: ignore[misc]
        return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.01}])

    spec = FromFactory(factory)
    built = spec.build(model.parameters(), {"lr": 0.5})

    assert [group["lr"] for group in built.param_groups] == pytest.approx([0.5, 0.05])
    assert starting_rate(spec, model.parameters()) == pytest.approx(0.1)


def test_a_rate_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match="learning rate of 0"):
        bs.SGD(lr=0.0)
