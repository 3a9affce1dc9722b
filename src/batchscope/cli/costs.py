"""The commands of what training takes and costs: cost, forecast, devices, laws."""

from typing import Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import (
    STORE,
    DebugOption,
    JsonOption,
    PrecisionOption,
    StorePlace,
    StudyOption,
    TargetOption,
    TaskName,
    read_counts,
    read_sizes,
)
from batchscope.cli.output import make_console, name_study, print_json, reporting, watching
from batchscope.cli.terms_options import (
    CarbonOption,
    DeadlineOption,
    DeviceHourOption,
    KilowattHourOption,
    WaitingHourOption,
    WattsOption,
    read_deadline,
    read_prices,
    read_watts,
)
from batchscope.errors import InvalidInput


def _print_example(wanted: bool) -> None:
    if wanted:
        from batchscope.decisions.hardware.table import read_built_in

        print(read_built_in(), end="")
        raise typer.Exit


@app.command()
def cost(
    store: StorePlace = STORE,
    study: StudyOption = None,
    device_hour: DeviceHourOption = 0.0,
    kilowatt_hour: KilowattHourOption = 0.0,
    watts: WattsOption = None,
    carbon: CarbonOption = 0.0,
    waiting_hour: WaitingHourOption = 0.0,
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="LIST",
            help="That share each step, such as 2, or 1,2,4 to choose from; batchscope profile "
            "--devices times them. Default: as many as the runs had.",
        ),
    ] = None,
    hardware: Annotated[
        float, typer.Option("--hardware", help="Price of an upgrade, paid once.")
    ] = 0.0,
    engineering: Annotated[
        float, typer.Option("--engineering", help="Of the work on it, paid once.")
    ] = 0.0,
    runs: Annotated[
        int, typer.Option("--runs", help="Over which what is paid once is spread.")
    ] = 1,
    present: Annotated[
        int | None,
        typer.Option(
            "--present", metavar="B", help="Larger batches need the upgrade. Default: none does."
        ),
    ] = None,
    target: TargetOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what each batch size of a study costs: time, device-hours, money, energy, carbon.

    Example: batchscope cost batchscope.db --device-hour 2.5 --watts 300
    """
    with reporting(debug):
        from batchscope.decisions.cost import Prices
        from batchscope.verbs.costing import cost as work_out

        prices = Prices(
            device_hour=device_hour,
            kilowatt_hour=kilowatt_hour,
            grams_per_kilowatt_hour=carbon,
            waiting_hour=waiting_hour,
            hardware=hardware,
            engineering=engineering,
            runs=runs,
        )
        found = work_out(
            store,
            which=study,
            prices=prices,
            watts=read_watts(watts),
            devices=None if devices is None else read_counts(devices),
            present=present,
            target=target,
        )
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal_costs import show_costs

        name_study(found.study, found.task)
        show_costs(make_console(), found)


@app.command()
def forecast(
    store: StorePlace = STORE,
    study: StudyOption = None,
    batch_sizes: Annotated[
        str, typer.Option("--batch-sizes", metavar="LIST", help="To predict: 48,4096.")
    ] = "",
    target: TargetOption = None,
    device_hour: DeviceHourOption = 0.0,
    kilowatt_hour: KilowattHourOption = 0.0,
    watts: WattsOption = None,
    carbon: CarbonOption = 0.0,
    devices: Annotated[
        int | None,
        typer.Option(
            "--devices",
            help="That share each step, of the study's kind. Default: as many as it had.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="The one that was studied, to predict the memory it takes."),
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict what batch sizes need that were never run, checked on those that were.

    Examples, steps, seconds, energy and money, on the device of the study or on several like it,
    and memory where the task is named.

    Example: batchscope forecast batchscope.db --batch-sizes 48,4096 --watts 65
    """
    with reporting(debug):
        from batchscope.verbs.forecasting import forecast as predict

        sizes = read_sizes(batch_sizes or None) or []
        found = predict(
            store,
            sizes,
            which=study,
            target=target,
            prices=read_prices(device_hour=device_hour, kilowatt_hour=kilowatt_hour, carbon=carbon),
            watts=read_watts(watts),
            devices=devices,
            task=task,
        )
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal_costs import show_forecast

        show_forecast(make_console(), found)


@app.command()
def devices(
    task: TaskName,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="With a study of the task: the steps to its target count. Default: one epoch.",
        ),
    ] = None,
    study: StudyOption = None,
    batch_sizes: Annotated[
        str | None,
        typer.Option(
            "--batch-sizes",
            metavar="LIST",
            help="For example 32,128,512 or 8..2048 (powers of two). Default: those of the study "
            "with --store, else 8 to 2048, at least two batches to an epoch.",
        ),
    ] = None,
    target: TargetOption = None,
    precision: PrecisionOption = None,
    table: Annotated[
        str | None,
        typer.Option("--table", metavar="FILE", help="Further devices; --example shows how."),
    ] = None,
    price: Annotated[
        str | None,
        typer.Option(
            "--price",
            metavar="LIST",
            help="Of one device for an hour, such as A100-80GB=1.8,H100=3.",
        ),
    ] = None,
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--measured",
            metavar="DEVICE:B:SECONDS",
            help="A step timed there. May be given several times.",
        ),
    ] = None,
    kilowatt_hour: KilowattHourOption = 0.0,
    carbon: CarbonOption = 0.0,
    deadline: DeadlineOption = None,
    _example: Annotated[
        bool,
        typer.Option(
            "--example", is_eager=True, callback=_print_example, help="Print the built-in table."
        ),
    ] = False,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say on which devices a task fits, how long it takes there and what it costs, untrained.

    Example: batchscope devices digits-cnn --price A100-80GB=1.8 --deadline 2h
    """
    with reporting(debug), watching() as watcher:
        from batchscope.decisions.hardware.roofline import Timing
        from batchscope.verbs.comparing_devices import devices as compare

        found = compare(
            task,
            store=store,
            which=study,
            batch_sizes=read_sizes(batch_sizes),
            target=target,
            precision=precision,
            table=table,
            prices=_read_prices(price),
            electricity=read_prices(device_hour=0.0, kilowatt_hour=kilowatt_hour, carbon=carbon),
            measured=[
                Timing(device=device, batch_size=size, seconds=seconds)
                for device, size, seconds in map(_read_timing, measured or ())
            ],
            deadline=read_deadline(deadline),
            watcher=watcher,
        )
        watcher.close()
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal_costs import show_devices

        show_devices(make_console(), found)


def _read_timing(text: str) -> tuple[str, int, float]:
    device, *numbers = text.split(":")
    try:
        size, seconds = numbers
        return device, int(size), float(seconds)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no timing",
            where="--measured",
            expected="device:batch size:seconds of a step, such as A100-80GB:256:0.012",
            do="write a name and two numbers with colons between",
        ) from error


def _read_prices(text: str | None) -> dict[str, float]:
    prices: dict[str, float] = {}
    for part in filter(None, (text or "").split(",")):
        name, _, amount = part.partition("=")
        try:
            prices[name.strip()] = float(amount)
        except ValueError as error:
            raise InvalidInput(
                f"{part!r} is no price",
                where="--price",
                expected="device=amount, with commas between several",
                do="write for example --price A100-80GB=1.8,H100=3",
            ) from error
    return prices


@app.command()
def laws(
    parameters: Annotated[
        float, typer.Option("--parameters", metavar="N", help="Of the model, without embeddings.")
    ],
    tokens: Annotated[float, typer.Option("--tokens", metavar="D", help="That it is trained on.")],
    measured: Annotated[
        list[str] | None,
        typer.Option(
            "--measured",
            metavar="N:D:B",
            help="Of a small model of your own: parameters, tokens, and the best batch size in "
            "tokens. May be given several times.",
        ),
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what the published laws say where nobody can sweep: an extrapolation.

    Example: batchscope laws --parameters 1e9 --tokens 2e10
    """
    with reporting(debug):
        from batchscope.decisions.laws import OwnRun, extrapolate

        own: list[OwnRun] = []
        for text in measured or ():
            try:
                n, d, b = (float(part) for part in text.split(":"))
            except ValueError as error:
                raise InvalidInput(
                    f"{text!r} is no measurement",
                    where="--measured",
                    expected="parameters:tokens:batch size in tokens, such as 1e8:2e9:250000",
                    do="write three numbers with colons between",
                ) from error
            own.append(OwnRun(parameters=n, tokens=d, batch_tokens=b))
        found = extrapolate(parameters, tokens, own=own)
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal_costs import show_laws

        show_laws(make_console(), found)
