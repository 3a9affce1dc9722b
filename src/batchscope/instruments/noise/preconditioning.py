"""The noise scale as an Adam-type optimizer sees it: its own scaling frozen, taken beforehand."""

from collections.abc import Mapping, Sequence

import torch

from batchscope.estimate import Estimate, NotIdentified

# Update th -= eps P g. The curvature is not known, so two surrogates of it stand for the choice:
# H prop. to I gives tr(P^2 Sigma) / abs(P G)^2; H prop. to P^-1 gives tr(P Sigma) / (G' P G).
UNIT_CURVATURE = "adam, unit curvature"
MATCHED_CURVATURE = "adam, matched curvature"
VARIANTS = (UNIT_CURVATURE, MATCHED_CURVATURE)


def find_weightings(
    optimizer: torch.optim.Optimizer | None, parameters: Sequence[torch.Tensor]
) -> Mapping[str, list[torch.Tensor]]:
    """What multiplies squared gradients in each variant, a flat tensor per parameter.

    P = 1 / (sqrt(v / (1 - beta2^t)) + eps), from the second moments that the optimizer has now.

    Returns:
        Nothing for an optimizer without second moments, or before its first step.

    Source: AdaptDL's Adam for unit curvature (Qiao et al. 2021, arXiv 2008.12260).
    """
    found = [_precondition(optimizer, p) for p in parameters] if optimizer is not None else []
    scales = [scale for scale in found if scale is not None]
    if not scales or len(scales) < len(found):
        return {}
    return {
        UNIT_CURVATURE: [scale.square() for scale in scales],
        MATCHED_CURVATURE: scales,
    }


def explain_absence(optimizer_name: str, *, unit: str) -> Mapping[str, Estimate]:
    """What stands for the variants where there are none."""
    if not optimizer_name.startswith("Adam"):
        return {}
    missing = NotIdentified(
        reason="Adam has no second moments yet",
        remedy="train for a while first: --after 1ep",
        unit=unit,
    )
    return dict.fromkeys(VARIANTS, missing)


def _precondition(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> torch.Tensor | None:
    state = optimizer.state.get(parameter, {})
    if "exp_avg_sq" not in state:
        return None
    group = next(g for g in optimizer.param_groups if any(p is parameter for p in g["params"]))
    correction = 1 - group["betas"][1] ** float(state["step"])
    return 1 / ((state["exp_avg_sq"].flatten() / correction).sqrt() + group["eps"])
