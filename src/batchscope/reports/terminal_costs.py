"""What training takes and costs, in a terminal of 80 columns."""

from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from batchscope.decisions.comparing_costs import Costs
from batchscope.decisions.cost import Cost
from batchscope.decisions.hardware.comparing import DeviceComparison, OnDevice
from batchscope.decisions.laws import Extrapolation
from batchscope.decisions.odds import NEAR, Odds
from batchscope.decisions.other_tasks import History
from batchscope.decisions.power import Power
from batchscope.estimate import Interval, NotIdentified, scale, write_number
from batchscope.reports.terminal_parts import make_table, say, shorten
from batchscope.verbs.forecasting import Forecast


def show_costs(console: Console, found: Costs) -> None:
    """What each batch size costs, a row each, and what going to the next one does."""
    say(console, f"To {found.target}")
    has_money = any(isinstance(c.total, Interval) and c.total.value > 0 for c in found.costs)
    has_energy = any(isinstance(c.kilowatt_hours, Interval) for c in found.costs)
    several = len({cost.use.devices for cost in found.costs}) > 1
    heads = ["batch size", "seconds", "device-hours"]
    heads += ["total cost"] if has_money else []
    heads += ["kWh"] if has_energy else []
    heads += ["near best"] if found.odds else []
    table = make_table(*heads)
    for at, cost in enumerate(found.costs):
        mark = " *" if at in found.on_frontier else ""
        on = f" x {cost.use.devices}" if several else ""
        row = [f"{cost.use.batch_size:,}{on}{mark}", shorten(cost.seconds)]
        row += [shorten(cost.device_hours)]
        row += [shorten(cost.total)] if has_money else []
        row += [shorten(cost.kilowatt_hours)] if has_energy else []
        row += [_write_odds(*found.odds[at])] if found.odds else []
        table.add_row(*row)
    console.print(table)
    _say_power(console, found.costs)
    _say_carbon(console, found.costs, several=several)
    said = "* no other batch size is both faster and cheaper. Means with 95% intervals."
    if several:
        said = f"{said} After the x the devices."
    if found.odds:
        said = f"{said} Near best: the probability of being within {NEAR:.0%} of it"
        said = f"{said}, in time and in total cost where the two differ."
    say(console, said)
    for word, use in (("Cheapest", found.cheapest), ("Fastest", found.fastest)):
        on = f" on {use.devices}" if several else ""
        say(console, f"{word}: {use.batch_size:,}{on}.")
    for sentence in found.sentences:
        say(console, f"- {sentence}")
    if len(found.levels) > 1:
        _show_levels(console, found, several=several, has_money=has_money)


def _show_levels(console: Console, found: Costs, *, several: bool, has_money: bool) -> None:
    """What more quality takes, and less."""
    heads = ["to", "batch size", "rate", "seconds", "total cost" if has_money else "device-hours"]
    table = make_table(*heads)
    for level in found.levels:
        for at, choice in enumerate(level.choices):
            cost = choice.cost
            on = f" x {cost.use.devices}" if several else ""
            table.add_row(
                "" if at else level.target,
                f"{cost.use.batch_size:,}{on}",
                f"{choice.learning_rate:.3g}",
                shorten(cost.seconds),
                shorten(cost.total if has_money else cost.device_hours),
            )
    say(console, "What more quality takes, and less:")
    console.print(table)
    say(
        console,
        "No other choice is faster, cheaper and better than one of these; each at the learning "
        "rate that gets there soonest, of those with the most seeds.",
    )


def _say_power(console: Console, costs: Sequence[Cost]) -> None:
    """What energy, and the money and the carbon of it, were worked out of."""
    watts = {cost.use.batch_size: cost.use.watts for cost in costs}
    known = {size: each for size, each in watts.items() if each is not None}
    if known:
        say(console, f"A device is taken to need {Power(known).words}.")


def _say_carbon(console: Console, costs: Sequence[Cost], *, several: bool) -> None:
    """In words: a column more would not go into 80."""
    amounts = [
        f"{write_number(grams.value)} at {cost.use.batch_size:,}"
        + (f" x {cost.use.devices}" if several else "")
        for cost in costs
        if isinstance(grams := cost.carbon_grams, Interval) and grams.value > 0
    ]
    if amounts:
        say(console, f"In grams of CO2: {', '.join(amounts)}.")


def _write_odds(time: Odds, total: Odds) -> str:
    in_time, in_total = f"{time.near:.0%}", f"{total.near:.0%}"
    return in_time if in_time == in_total else f"{in_time}, {in_total}"


def show_forecast(console: Console, found: Forecast) -> None:
    """What batch sizes need that were never run, and how far off that is at those that were."""
    devices = max(cost.use.devices for cost in found.costs)
    say(console, f"To {found.target}" + (f", on {devices} devices" if devices > 1 else ""))
    table = make_table("batch size", "examples", "ms per step", "seconds")
    for cost in found.costs:
        table.add_row(
            f"{cost.use.batch_size:,}",
            shorten(cost.examples),
            shorten(scale(cost.use.step_seconds, 1e3, unit="ms")),
            shorten(cost.seconds),
        )
    console.print(table)
    _say_power(console, found.costs)
    for cost in found.costs:
        taken = {
            "of money": cost.usage,
            "kWh": cost.kilowatt_hours,
            "g CO2": cost.carbon_grams,
        }
        known = [
            str(replace(amount, unit=name))
            for name, amount in taken.items()
            if isinstance(amount, Interval) and amount.value > 0
        ]
        if known:
            say(console, f"Batch size {cost.use.batch_size:,} takes {', '.join(known)}.")
    if found.memory:
        needs = [
            f"{write_number((need.low or 0.0) / 2**20)} MiB at {size:,}"
            for size, need in found.memory.items()
        ]
        say(
            console,
            f"A step holds at least {', '.join(needs)} on each device: its tensors, predicted "
            "without data. Allocators and libraries take more; batchscope fit tries.",
        )
    parts = [part for cost in found.costs for part in (cost.examples, cost.use.step_seconds)]
    whys = [(part.reason, part.remedy) for part in parts if isinstance(part, NotIdentified)]
    for reason, remedy in dict.fromkeys(whys):
        say(console, f"Not identified: {reason}. It takes: {remedy}.")
    if found.to_target.history is not None:
        _show_history(console, found.to_target.history)
    _show_left_out(console, found)


def _show_history(console: Console, history: History) -> None:
    """What other tasks the examples were taken from, and how far that is off."""
    sizes = [f"{name} {write_number(size.value)}" for name, size in history.critical.items()]
    off = ""
    if history.unbounded:
        off = f" Of {len(history.unbounded)} more the runs do not tell it."
    if history.error is not None:
        off += f" Predicted so, each of them is off by {100 * history.error:.0f}% (median)."
    say(
        console,
        "Too few batch sizes got to the target for a curve of their own: how steps fall is taken "
        f"from other tasks of the store, by their critical batch sizes ({', '.join(sizes)}).{off}",
    )


def _show_left_out(console: Console, found: Forecast) -> None:
    """How far off the others are at each batch size that was run."""
    steps = {one.batch_size: one for one in found.step_seconds.left_out}
    if not found.left_out and not steps:
        return
    table = make_table("left out", "examples", "off by", "ms per step", "off by")
    runs = {one.batch_size: one for one in found.left_out}
    for size in sorted({*runs, *steps}):
        run, step = runs.get(size), steps.get(size)
        row = [f"{size:,}", "-", "-", "-", "-"]
        if run is not None:
            row[1] = write_number(run.measured)
            if isinstance(run.predicted, Interval):
                row[2] = _write_error(run.predicted.value / run.measured)
        if step is not None:
            row[3] = write_number(1e3 * step.measured)
            row[4] = _write_error(step.predicted / step.measured)
        table.add_row(*row)
    console.print(table)
    said = [
        f"{what} by {100 * error:.0f}%"
        for what, error in (
            ("examples", found.error),
            ("seconds per step", found.step_seconds.error),
        )
        if error is not None
    ]
    if said:
        say(
            console,
            f"Left out, a batch size is predicted from the others: {', '.join(said)} (median). "
            "90% intervals.",
        )


def _write_error(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f}%"


def show_laws(console: Console, found: Extrapolation) -> None:
    """What each law says, and how far outside what it was fitted on."""
    say(console, str(found))
    table = make_table("law", "of", "says", "outside its data by", "off on your runs")
    for said in found.said:
        away = said.doublings_outside
        errors = ", ".join(f"{error:.2g} times" for error in said.errors)
        table.add_row(
            said.law.name,
            said.law.what,
            f"{write_number(said.value)} {said.law.unit}".rstrip(),
            f"{away:.1f} doublings" if away > 0 else "nothing",
            errors or "not measured",
        )
    console.print(table)
    for law in {said.law.name: said.law for said in found.said}.values():
        ranges = [
            f"{low:.3g} to {high:.3g} {name}"
            for name, (low, high) in (("parameters", law.parameters), ("tokens", law.tokens))
        ]
        say(console, f"- {law.name}, fitted on {' and '.join(ranges)}: {law.source}")
    say(
        console,
        "Laws are no measurement: a batch size found on a small model of your own, given with "
        "--measured, moves them and shows how far each errs.",
    )


def show_devices(console: Console, found: DeviceComparison) -> None:
    """A row per device, the fastest first, and what follows."""
    say(console, f"{found.task} in {found.precision}, {found.goal}")
    has_chance = any(one.chance is not None for one in found.devices)
    has_money = any(_money(one) is not None for one in found.devices)
    has_carbon = any(_carbon(one) is not None for one in found.devices)
    has_amounts = has_money or has_carbon
    heads = ["device", "batch size", "ms per step", "seconds"]
    heads += ["money"] if has_money else []
    heads += ["g CO2"] if has_carbon else []
    heads += ["in time"] if has_chance else []
    table = make_table(*heads)
    for one in found.devices:
        if one.refusal is not None:
            table.add_row(one.device, "-", "-", one.refusal)
            continue
        assert one.step_seconds is not None
        assert one.seconds is not None
        split = "" if one.accumulation == 1 else f"\n{one.accumulation} x {one.micro_batch}"
        money, carbon = _money(one), _carbon(one)
        row = [
            one.device if one.is_measured else f"{one.device} ?",
            f"{one.batch_size}{split}",
            shorten(scale(one.step_seconds, 1000, unit="")),
            shorten(one.seconds),
        ]
        # As uncertain as the seconds, in proportion: their intervals would say nothing more.
        row += ["no price" if money is None else write_number(money.value)] if has_money else []
        row += ["no power" if carbon is None else write_number(carbon.value)] if has_carbon else []
        row += ["" if one.chance is None else f"{one.chance:.0%}"] if has_chance else []
        table.add_row(*row)
    console.print(table)
    guessed = any(one.refusal is None and not one.is_measured for one in found.devices)
    say(
        console,
        f"{'? a guess by what a step computes and moves. ' * guessed}95% intervals"
        + (", which hold in proportion for what follows from the seconds" * has_amounts)
        + ".",
    )
    for sentence in found.sentences:
        say(console, sentence)


def _money(one: OnDevice) -> Interval | None:
    money = None if one.usage is None else one.usage.money
    return money if isinstance(money, Interval) else None


def _carbon(one: OnDevice) -> Interval | None:
    carbon = None if one.usage is None else one.usage.carbon_grams
    return carbon if isinstance(carbon, Interval) else None
