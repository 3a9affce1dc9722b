"""Learning rates by a published rule instead of a search."""

import math
from dataclasses import dataclass

from batchscope.errors import InvalidInput
from batchscope.records import HyperParameters

# No rule of its own: a search at three batch sizes, and a power law through what it finds.
FITTED = "fitted"
# The gain at a noise scale that is measured along a run at the base batch size first.
MEASURED = "adascale"
_NAMES = ("constant", "linear", "sqrt", "power:0.7", MEASURED, "adascale:1000", "sde", FITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How constants move with the batch size, from those at a base batch size.

    Attributes:
        name: "constant"; "linear" (Goyal et al. 2017); "sqrt" (Krizhevsky 2014); "power", the
            ratio to an exponent; "adascale", the gain r = (n / B0 + 1) / (n / B + 1) at the noise
            scale n (Johnson et al. 2020), for Adam its square root (Qiao et al. 2021); or "sde" for
            Adam (Malladi et al. 2022), which moves the betas and eps as well.
        value: the exponent, or the noise scale in examples.
        base: the batch size at which the rates are given.
    """

    name: str
    value: float
    base: int

    def __str__(self) -> str:
        value = f":{self.value:.15g}" if self.name in ("power", "adascale") else ""
        return f"{self.name}{value}@{self.base}"

    def apply(self, constants: HyperParameters, batch_size: int) -> HyperParameters:
        """The constants at a batch size, from those of the base.

        Raises:
            InvalidInput: the rule does not exist there.

        Example:
            >>> Rule(name="sqrt", value=0.5, base=32).apply({"lr": 0.1}, 128)
            {'lr': 0.2}
        """
        ratio = batch_size / self.base
        lr = float(constants["lr"]) * self._factor(ratio, is_adaptive="beta2" in constants)
        moved: dict[str, float | bool | str] = {**constants, "lr": lr}
        if self.name != "sde":
            return moved
        if "beta2" not in constants:
            raise InvalidInput(
                "the SDE rule is Adam's",
                where="--rule sde",
                expected="a task with Adam or AdamW",
                do="for SGD take --rule linear",
            )
        for beta in ("beta1", "beta2"):
            value = 1 - ratio * (1 - float(constants[beta]))
            if value <= 0:
                raise InvalidInput(
                    f"at batch size {batch_size} the SDE rule asks for {beta} = {value:.3g}",
                    where="--rule sde",
                    expected=f"a batch size below {self.base / (1 - float(constants[beta])):.4g}",
                    do="leave larger batch sizes out, or take --rule sqrt",
                )
            moved[beta] = value
        moved["eps"] = float(constants["eps"]) / math.sqrt(ratio)
        return moved

    def _factor(self, ratio: float, *, is_adaptive: bool) -> float:
        if self.name == "adascale":
            return gain(self.value, self.base, self.base * ratio, is_adaptive=is_adaptive)
        return ratio**self.value


def gain(noise_scale: float, known: float, size: float, *, is_adaptive: bool) -> float:
    """What a rate may be multiplied by from one batch size to another.

    Args:
        noise_scale: in examples, as the batch sizes.
        is_adaptive: for Adam and its like the square root.

    Example:
        >>> gain(64.0, 64, 128, is_adaptive=False)
        1.3333333333333333
    """
    ratio = (noise_scale / known + 1) / (noise_scale / size + 1)
    return math.sqrt(ratio) if is_adaptive else ratio


def parse_rule(text: str, base: int) -> Rule:
    """Read linear, sqrt, power:0.7, adascale:1000 and the like.

    Raises:
        InvalidInput: there is no such rule.
    """
    name, _, value = text.partition(":")
    exponents = {"constant": 0.0, "linear": 1.0, "sqrt": 0.5, "sde": 0.5}
    try:
        if name in exponents and not value and base > 0:
            return Rule(name=name, value=exponents[name], base=base)
        number = float(value)
        if name == "power" and math.isfinite(number) and base > 0:
            return Rule(name=name, value=number, base=base)
        if name == "adascale" and 0 < number < math.inf and base > 0:
            return Rule(name=name, value=number, base=base)
    except ValueError:
        pass
    raise InvalidInput(
        f"there is no rule {text!r} from batch size {base}",
        where="--rule, --base",
        expected=f"one of {', '.join(_NAMES)}, from a batch size of at least 1",
        do="choose one",
    )


def check_rule(text: str, base: int) -> None:
    """Let a rule pass that there is, be its constants known or not.

    Raises:
        InvalidInput: there is no such rule.
    """
    if text != FITTED:
        parse_rule(f"{text}:1" if text == MEASURED else text, base)
