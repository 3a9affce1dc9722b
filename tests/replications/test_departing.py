import pytest
import torch
from torch import nn

from batchscope.replications.departing import FromStart, measure_layers
from batchscope.replications.studies.distance import make_dense_net


def test_the_distance_of_a_layer_is_that_of_its_weight_alone() -> None:
    torch.manual_seed(0)
    model = FromStart(make_dense_net())
    linear = [layer for layer in model.net.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        linear[1].weight *= 1.5
        linear[2].bias += 7.0

    assert measure_layers(model) == pytest.approx([0.0, 0.5, 0.0], abs=1e-6)
