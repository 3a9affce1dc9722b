"""The commands of what training takes and costs: cost, forecast, laws."""

from typing import Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import (
    STORE,
    DebugOption,
    JsonOption,
    StorePlace,
    StudyOption,
    TargetOption,
    read_sizes,
)
from batchscope.cli.output import make_console, name_study, print_json, reporting
from batchscope.cli.terms_options import (
    CarbonOption,
    DeviceHourOption,
    KilowattHourOption,
    WattsOption,
)
from batchscope.errors import InvalidInput


@app.command()
def cost(
    store: StorePlace = STORE,
    study: StudyOption = None,
    device_hour: DeviceHourOption = 0.0,
    kilowatt_hour: KilowattHourOption = 0.0,
    watts: WattsOption = None,
    carbon: CarbonOption = 0.0,
    devices: Annotated[int, typer.Option("--devices", min=1, help="That each run had.")] = 1,
    hardware: Annotated[
        float, typer.Option("--hardware", help="Price of an upgrade, paid once.")
    ] = 0.0,
    engineering: Annotated[
        float, typer.Option("--engineering", help="Of the work on it, paid once.")
    ] = 0.0,
    runs: Annotated[
        int, typer.Option("--runs", min=1, help="Over which what is paid once is spread.")
    ] = 1,
    present: Annotated[
        int | None,
        typer.Option(
            "--present", metavar="B", help="Larger batches need the upgrade. Default: none does."
        ),
    ] = None,
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
            hardware=hardware,
            engineering=engineering,
            runs=runs,
        )
        found = work_out(
            store, which=study, prices=prices, watts=watts, devices=devices, present=present
        )
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal import show_costs

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
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Predict what batch sizes need that were never run, checked on those that were.

    Example: batchscope forecast batchscope.db --batch-sizes 48,4096
    """
    with reporting(debug):
        from batchscope.verbs.forecasting import forecast as predict

        sizes = read_sizes(batch_sizes or None) or []
        found = predict(store, sizes, which=study, target=target)
        if json:
            print_json(found.to_dict())
            return
        from batchscope.reports.terminal import show_forecast

        show_forecast(make_console(), found)


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
        from batchscope.reports.terminal import show_laws

        show_laws(make_console(), found)
