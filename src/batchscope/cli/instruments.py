"""The commands that measure at one batch size."""

from typing import TYPE_CHECKING, Annotated

import typer

from batchscope.cli.app import app
from batchscope.cli.options import (
    DebugOption,
    DeviceOption,
    JsonOption,
    PrecisionOption,
    SeedOption,
    TaskName,
    read_budget,
    read_sizes,
)
from batchscope.cli.output import make_console, print_json, reporting, watching

if TYPE_CHECKING:
    from batchscope.reports.readings import Reading

AfterOption = Annotated[
    str,
    typer.Option(
        "--after", metavar="AMOUNT", help="Train for this long first, such as 5ep; 0 for none."
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", metavar="FILE", help="Look at the state_dict in a file instead."),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", help="Of the training to that place. Default: 32."),
]
AtSizeOption = Annotated[int, typer.Option("--batch-size", help="Examples per step.")]
RateOption = Annotated[
    float | None,
    typer.Option("--learning-rate", help="Of that training. Default: the task's own."),
]
CoupledOption = Annotated[
    bool,
    typer.Option(
        "--allow-coupled", help="Measure although examples of a batch depend on one another."
    ),
]


@app.command()
def noise(
    task: TaskName,
    method: Annotated[
        str,
        typer.Option("--method", metavar="NAME", help="probe, line, sign, spread or training."),
    ] = "probe",
    after: AfterOption = "1ep",
    weights: WeightsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: RateOption = None,
    micro_batch: Annotated[
        int, typer.Option("--micro-batch", help="Examples behind each gradient of a probe.")
    ] = 16,
    width: Annotated[
        float, typer.Option("--width", help="Of the interval, over its value, that is enough.")
    ] = 0.6,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="AMOUNT",
            help="What a probe may draw (default: 65536ex), or how long the run of --method "
            "training is (default: as the task's): 25ep, 2000steps, 1e6ex, 90s.",
        ),
    ] = None,
    allow_coupled: CoupledOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure the gradient noise scale at one place of a training.

    A probe draws micro-batches at frozen weights until the interval is narrow enough or --budget
    is spent; "line" finds the best step at several batch sizes, "sign" that against the gradient's
    sign, "spread" the gradient's deviation against batch size; "training" measures along a whole
    run of --budget.

    Example: batchscope noise digits-cnn --after 5ep
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.gauging import noise as measure

        result = measure(
            task,
            method=method,
            after=after,
            weights=weights,
            batch_size=batch_size,
            learning_rate=learning_rate,
            micro_batch=micro_batch,
            width=width,
            budget=read_budget(budget),
            allow_coupled=allow_coupled,
            seed=seed,
            device=device,
            precision=precision,
            watcher=watcher,
        )
        watcher.close()
        _show(result, json)


@app.command()
def fit(
    task: TaskName,
    memory: Annotated[
        str | None,
        typer.Option("--memory", metavar="AMOUNT", help="Such as 8GiB. Default: what there is."),
    ] = None,
    headroom: Annotated[
        float, typer.Option("--headroom", help="Share of it that stays free, from 0 to below 1.")
    ] = 0.0,
    largest: Annotated[
        int | None, typer.Option("--largest", help="Batch size to try. Default: all of the data.")
    ] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the largest batch that fits in memory, each size tried in a process of its own.

    With --memory and a --device that is not here, a prediction that runs nothing.

    Example: batchscope fit mytask.py:task --memory 8GiB
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.fitting import fit as find

        result = find(
            task,
            memory=memory,
            headroom=headroom,
            largest=largest,
            device=device,
            precision=precision,
            watcher=watcher,
        )
        watcher.close()
        _show(result, json)


@app.command()
def branch(
    task: TaskName,
    after: AfterOption = "1ep",
    length: Annotated[
        str,
        typer.Option("--length", metavar="AMOUNT", help="Of every branch: 1ep or 20000ex."),
    ] = "1ep",
    weights: WeightsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: RateOption = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Orders of the examples.")] = 5,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find the critical batch size at one place, by branches of equal examples from it.

    Example: batchscope branch digits-cnn --after 5ep
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.gauging import branch as measure

        result = measure(
            task,
            after=after,
            length=read_budget(length, where="--length"),
            weights=weights,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seeds=seeds,
            seed=seed,
            device=device,
            precision=precision,
            watcher=watcher,
        )
        watcher.close()
        _show(result, json)


@app.command()
def curvature(
    task: TaskName,
    after: AfterOption = "5ep",
    weights: WeightsOption = None,
    batch_size: BatchSizeOption = None,
    learning_rate: RateOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure how sharp the loss is at one place, and how far the weights have come.

    Example: batchscope curvature digits-cnn --after 5ep
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.gauging import curvature as measure

        result = measure(
            task,
            after=after,
            weights=weights,
            batch_size=batch_size,
            learning_rate=learning_rate,
            seed=seed,
            device=device,
            precision=precision,
            watcher=watcher,
        )
        watcher.close()
        _show(result, json)


@app.command()
def energy(
    task: TaskName,
    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            "--batch-sizes",
            metavar="B",
            help="Examples per step; or several, such as 32,128,512.",
        ),
    ] = "32",
    watts: Annotated[
        float | None,
        typer.Option("--watts", help="Of the processor at full load, where nothing counts."),
    ] = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Keep the power there: recommend, cost and forecast find it without --watts. "
            "Default: it is not kept.",
        ),
    ] = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure joules per step and per example, at one batch size or at several.

    Example: batchscope energy digits-cnn --batch-size 32,128,512 --store batchscope.db
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.powering import energy as measure

        sizes = read_sizes(batch_size, where="--batch-size")
        result = measure(
            task,
            batch_size=sizes if len(sizes) > 1 else sizes[0],
            watts=watts,
            device=device,
            precision=precision,
            store=store,
            watcher=watcher,
        )
        watcher.close()
        _show(result, json)


@app.command()
def bottleneck(
    task: TaskName,
    batch_size: AtSizeOption = 32,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say what holds a step up at one batch size: loading or computing.

    Example: batchscope bottleneck digits-cnn --batch-size 64
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.gauging import bottleneck as measure

        result = measure(
            task, batch_size=batch_size, device=device, precision=precision, watcher=watcher
        )
        watcher.close()
        _show(result, json)


def _show(result: "Reading", json: bool) -> None:
    if json:
        print_json(result.to_dict())
        return
    from batchscope.reports.terminal import show_reading

    show_reading(make_console(), result)
