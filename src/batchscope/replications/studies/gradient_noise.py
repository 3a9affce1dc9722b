"""Goodfellow et al. 2016, 8.1.3, and forum lore: what averaging over a batch does to a gradient."""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

import numpy as np
import numpy.typing as npt
import torch

from batchscope.budget import Budget, epochs
from batchscope.findings.claims import Claim, Seen, exactly, see_trend
from batchscope.gallery.digits import load_split
from batchscope.gallery.digits_mlp import task as digits
from batchscope.instruments.checkpoint import reach_checkpoint
from batchscope.replications.lab import Lab
from batchscope.replications.least_squares import least_steps
from batchscope.replications.published import Figure, Line, Measured, Published
from batchscope.task import Task

Gradients = npt.NDArray[np.float32]

_SIZES = (1, 4, 16, 64, 256)
_EXAMPLES, _DRAWS = 512, 1000
_PLACES: dict[str, Budget | None] = {"C1a": None, "C1b": epochs(3), "C1c": epochs(30)}
# Softmax regression on Gaussian classes; and nets of 2-2-1.
_FRESH_SET, _FRESH_SETS, _GAUSSIANS, _INPUTS = 512, 30, 5, 20
_NETS, _XOR_STEPS, _XOR_RATES = 400, 2000, (0.1, 0.3, 1.0)
_WELLS, _WELL_STEPS, _WELL_RATE, _TILT = 400, 2000, 0.1, 0.12

CLAIMS = (
    *(
        Claim(
            id=name,
            name=f"the gradient's deviation falls as B^-1/2 {where} (the exponent plus 1/2)",
            kind="claim",
            direction="within",
            margin=0.03,
            source=0.0,
            is_unverified=True,
        )
        for name, where in (
            ("C1a", "at the initial weights"),
            ("C1b", "after 3 epochs"),
            ("C1c", "after 30 epochs"),
        )
    ),
    Claim(
        id="C2",
        name="the gradient of a full set of 512 deviates over fresh sets as that of a minibatch of "
        "512 would (ratio)",
        kind="claim",
        direction="within",
        margin=1.1,
        is_ratio=True,
    ),
    Claim(
        id="C3a",
        name="one example in ten or more points against the gradient",
        kind="claim",
        direction="above",
        margin=0.1,
    ),
    Claim(
        id="C3b",
        name="the share that points against it falls with the batch size",
        kind="claim",
        direction="below",
        margin=0.0,
    ),
    Claim(
        id="C3c",
        name="on average one example points along it: the mean of their cosines",
        kind="claim",
        direction="above",
        margin=0.0,
    ),
    Claim(
        id="C4",
        name="steps saved per doubling shrink: the last over the first is under a half",
        kind="claim",
        direction="below",
        margin=0.5,
        is_ratio=True,
    ),
    Claim(
        id="C5",
        name="single examples leave a local minimum more often than batches of 16, by 0.2",
        kind="claim",
        direction="above",
        margin=0.2,
    ),
    Claim(
        id="C6",
        name="after equal steps more small nets have learned XOR from single examples than from "
        "all four, by 0.05",
        kind="claim",
        direction="above",
        margin=0.05,
    ),
)


def measure(lab: Lab) -> Measured:
    """Gradients of a small net at three places, a noisy quadratic, and a double well."""
    calls = [(seed, lab.is_control) for seed in lab.seeds]
    found = cast(
        list[_AtSeed], lab.ask(digits, _measure_at_seed, calls, words="measuring gradients")
    )
    seen: dict[str, list[Seen]] = {
        name: exactly([one["values"][name] for one in found]) for name in found[0]["values"]
    }
    seen["C3b"] = [see_trend(one["against"]) for one in found]
    figure = Figure(
        title="Deviation of the gradient against the batch size, initial weights, one seed",
        x="batch size",
        y="deviation",
        lines=tuple(
            Line(name=name, places=list(_SIZES), values=values)
            for name, values in found[0]["drawn"].items()
        ),
        logarithmic=(True, True),
    )
    notes = (
        f"Batches are drawn with replacement, {_DRAWS} of each size. Without it the deviation ends "
        f"at 0, which a logarithmic axis has no place for: all {_EXAMPLES} are one batch.",
        "C3c was declared after the others had been seen.",
    )
    if lab.is_control:
        of_classes = float(np.mean([slope for one in found for slope in one["of_classes"]]))
        at_rest = float(np.mean([one["at_rest"] for one in found]))
        notes += (
            "Two other controls: where a batch is of one class, the deviation falls as "
            f"B^{of_classes:.2f}, on average over places and seeds; without noise {at_rest:.0%} of "
            "runs leave the well.",
        )
    return Measured(seen=seen, figures=(figure,), notes=notes)


class _AtSeed(TypedDict):
    """What one seed gives.

    Attributes:
        values: claim -> its estimate.
        against: of each batch size, the share of batches that point against the gradient.
        drawn: curve -> the deviation at each batch size, at the initial weights.
        of_classes: at each place the exponent where a batch is of one class; in the control only.
        at_rest: the share of runs that leave the well without noise.
    """

    values: dict[str, float]
    against: list[float]
    drawn: dict[str, list[float]]
    of_classes: list[float]
    at_rest: float


def _measure_at_seed(
    task: Task, seed: int, copies: bool, *, report: Callable[[object], None]
) -> _AtSeed:
    del report
    values: dict[str, float] = {}
    against: list[float] = []
    drawn: dict[str, list[float]] = {}
    of_classes: list[float] = []
    for name, place in _PLACES.items():
        gradients, classes = _example_gradients(task, seed, place)
        read = _read_batches(gradients, seed, copies=copies)
        deviations = [deviation for deviation, _ in read]
        values[name] = _slope(deviations) + 0.5
        drawn = drawn or {"with replacement": deviations, **draw_within(gradients, seed)}
        if copies:
            of_classes.append(_slope(read_classes(gradients, classes, seed)))
        if name == "C1b":
            values["C3c"] = _align(gradients)
            against = [share for _, share in read]
            values["C3a"] = against[0]
    if not copies:
        # Of copies all batch sizes are one, and no doubling saves anything.
        values["C4"] = _saved(seed)
    values["C2"] = _respread(seed, copies=copies)
    # Copies of one example are a batch of one, drawn anew for each size.
    learned = [_solve_xor(seed, 1 if copies else size, stream=size) for size in (1, 4)]
    values["C6"] = learned[0] - learned[1]
    escaped = [escape(seed, 1 if copies else size, stream=size) for size in (1, 16)]
    values["C5"] = escaped[0] - escaped[1]
    return _AtSeed(
        values=values,
        against=against,
        drawn=drawn,
        of_classes=of_classes,
        at_rest=escape(seed, math.inf, stream=0) if copies else 0.0,
    )


def _slope(deviations: Sequence[float]) -> float:
    return float(np.polyfit(np.log(_SIZES), np.log(deviations), 1)[0])


def _example_gradients(
    task: Task, seed: int, after: Budget | None
) -> tuple[Gradients, npt.NDArray[np.int64]]:
    """One row per training example, and its class, at one place of an ordinary training."""
    place = reach_checkpoint(
        task, after=after, device=torch.device("cpu"), precision="float32", seed=seed
    )
    model = place.model
    names = {name: value.detach() for name, value in model.named_parameters()}
    inputs, classes = cast(tuple[torch.Tensor, torch.Tensor], load_split()["train"])

    def loss(weights: dict[str, torch.Tensor], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(model, weights, (x[None],))
        return torch.nn.functional.cross_entropy(logits, y[None])

    keep = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[:_EXAMPLES]
    rows = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(
        names, inputs[keep], classes[keep]
    )
    return torch.cat([g.flatten(1) for g in rows.values()], dim=1).numpy(), classes[keep].numpy()


def _read_batches(gradients: Gradients, seed: int, *, copies: bool) -> list[tuple[float, float]]:
    """Per batch size the deviation of its gradient, and the share that points against the whole's.

    Batches are drawn with replacement; of copies each is one example's gradient.
    """
    whole = gradients.mean(axis=0)
    share = np.full(len(gradients), 1 / len(gradients))
    read: list[tuple[float, float]] = []
    for size in _SIZES:
        drawn = 1 if copies else size
        picked = np.random.default_rng([seed, size]).multinomial(drawn, share, size=_DRAWS)
        batches = picked.astype(np.float32) @ gradients / drawn
        read.append((_deviate(batches, whole), float((batches @ whole < 0).mean())))
    return read


def _deviate(batches: npt.NDArray[Any], whole: npt.NDArray[Any]) -> float:
    """How far gradients, one a row, lie from the whole's: the root of the mean square."""
    squares = np.square(batches - whole).sum(axis=1, dtype=np.float64)
    return math.sqrt(float(squares.mean()))


def read_classes(gradients: Gradients, classes: npt.NDArray[np.int64], seed: int) -> list[float]:
    """Per batch size the deviation where each batch is drawn from one class, itself drawn."""
    whole = gradients.mean(axis=0)
    deviations: list[float] = []
    for size in _SIZES:
        rng = np.random.default_rng([seed, size])
        of_batch = classes[rng.integers(len(classes), size=_DRAWS)]
        shares = (classes == of_batch[:, None]).astype(float)
        picked = rng.multinomial(size, shares / shares.sum(axis=1, keepdims=True))
        batches = picked.astype(np.float32) @ gradients / size
        deviations.append(_deviate(batches, whole))
    return deviations


def draw_within(gradients: Gradients, seed: int) -> dict[str, list[float]]:
    """The deviation of batches drawn without replacement, and the law that it follows."""
    whole, count = gradients.mean(axis=0), len(gradients)
    order = np.random.default_rng([seed, 0]).random((_DRAWS, count)).argsort(axis=1)
    single = _deviate(gradients, whole)
    measured: list[float] = []
    for size in _SIZES:
        batches = (order < size).astype(np.float32) @ gradients / size
        measured.append(_deviate(batches, whole))
    # Of a finite set, whose own deviation is over one degree of freedom less.
    law = [single * math.sqrt((1 / b - 1 / count) * count / (count - 1)) for b in _SIZES]
    return {"without": measured, "sqrt(1/B - 1/N)": law}


def _align(gradients: Gradients) -> float:
    """The mean cosine of one example's gradient with that of all."""
    whole = gradients.mean(axis=0)
    lengths = np.linalg.norm(gradients, axis=1) * np.linalg.norm(whole)
    return float((gradients @ whole / np.maximum(lengths, 1e-30)).mean())


def _saved(seed: int) -> float:
    """Log of steps saved by the last doubling over those saved by the first (noisy quadratic)."""
    i = np.arange(1, 1001, dtype=float)
    start = np.square(np.random.default_rng(seed).standard_normal(1000))
    one, two, many, twice = (least_steps(size, 1 / i, start, 0.1) for size in (1, 2, 2048, 4096))
    return math.log((many - twice) / (one - two))


def escape(seed: int, size: float, *, stream: int) -> float:
    """Share of runs that leave the shallow well of x^4/4 - x^2/2 + 0.12 x for the deep one.

    Args:
        size: of a batch; infinite for no noise.
        stream: of the noise drawn for a seed.
    """
    rng = np.random.default_rng([seed, stream])
    x = np.full(_WELLS, 0.92)
    for _ in range(_WELL_STEPS):
        noise = rng.standard_normal(_WELLS) / math.sqrt(size)
        x = x - _WELL_RATE * (x**3 - x + _TILT + noise)
    return float((x < 0).mean())


def _respread(seed: int, *, copies: bool) -> float:
    """Log of the deviation of a full set's gradient over fresh sets, over that of minibatches.

    Softmax regression at weights drawn at random, on Gaussian classes.
    """
    rng = np.random.default_rng([seed, _FRESH_SET])
    centres = rng.standard_normal((_GAUSSIANS, _INPUTS))
    weights = 0.3 * rng.standard_normal((_INPUTS, _GAUSSIANS))

    def gradients() -> npt.NDArray[np.float64]:
        classes = rng.integers(_GAUSSIANS, size=_FRESH_SET)
        inputs = centres[classes] + rng.standard_normal((_FRESH_SET, _INPUTS))
        logits = inputs @ weights
        shares = np.exp(logits - logits.max(1, keepdims=True))
        off = shares / shares.sum(1, keepdims=True) - np.eye(_GAUSSIANS)[classes]
        return (inputs[:, :, None] * off[:, None, :]).reshape(_FRESH_SET, -1)

    sets = [gradients() for _ in range(_FRESH_SETS)]
    whole = [one[0] if copies else one.mean(0) for one in sets]
    over_sets = float(np.var(whole, axis=0, ddof=1).sum())
    within = float(np.mean([one.var(axis=0, ddof=1).sum() for one in sets])) / _FRESH_SET
    return 0.5 * math.log(over_sets / within)


def _solve_xor(seed: int, size: int, *, stream: int) -> float:
    """The share of nets of 2-2-1 that learn XOR from batches of 1 or all 4, over three rates."""
    solved = [_train_xor(seed, size, rate, stream) for rate in _XOR_RATES]
    return float(np.mean(solved))


def _train_xor(seed: int, size: int, rate: float, stream: int) -> float:
    rng = np.random.default_rng([seed, _NETS])
    inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    wanted = np.array([0.0, 1.0, 1.0, 0.0])
    into, offset = rng.normal(0, 1, (_NETS, 2, 2)), np.zeros((_NETS, 2))
    out, last = rng.normal(0, 1, (_NETS, 2)), np.zeros(_NETS)
    drawn = np.random.default_rng([seed, _NETS, stream]).integers(4, size=(_XOR_STEPS, _NETS))

    def forward(x: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], ...]:
        hidden = np.tanh(np.einsum("nbi,nij->nbj", x, into) + offset[:, None])
        return hidden, 1 / (1 + np.exp(-(np.einsum("nbj,nj->nb", hidden, out) + last[:, None])))

    everything = np.broadcast_to(inputs, (_NETS, 4, 2))
    for step in range(_XOR_STEPS):
        x = everything if size == 4 else inputs[drawn[step]][:, None]
        y = np.broadcast_to(wanted, (_NETS, 4)) if size == 4 else wanted[drawn[step]][:, None]
        hidden, guess = forward(x)
        off = (guess - y) / x.shape[1]
        back = off[:, :, None] * out[:, None] * (1 - hidden**2)
        into -= rate * np.einsum("nbi,nbj->nij", x, back)
        offset -= rate * back.sum(1)
        out -= rate * np.einsum("nb,nbj->nj", off, hidden)
        last -= rate * off.sum(1)
    return float(((forward(everything)[1] > 0.5) == (wanted > 0.5)).all(1).mean())


STUDY = Published(
    name="gradient-noise",
    title="What a batch does to the noise of its gradient",
    source="Goodfellow, Bengio, Courville, Deep Learning, 2016, section 8.1.3 (unverified), and "
    "forum threads",
    data="No experiment is published: the digits of scikit-learn with a small net, the noisy "
    "quadratic, and a double well.",
    claims=CLAIMS,
    control="a batch is copies of one example, which averages nothing; batches of one class, and "
    "no noise, are noted beside",
    kills=("C1a", "C1b", "C1c", "C2", "C3b", "C5", "C6"),
    seeds={"quick": 6, "standard": 12},
    minutes={"quick": 1, "standard": 2},
    measure=measure,
)
