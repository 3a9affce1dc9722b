"""The commands that train: profile, study, recommend."""

import sys
from typing import Any

from batchscope.cli.app import app
from batchscope.cli.config import ConfigOption
from batchscope.cli.options import (
    REPORT,
    STORE,
    AlsoReadOption,
    BaseOption,
    BatchSizes,
    BudgetOption,
    DebugOption,
    DetectOption,
    DeviceOption,
    DevicesOption,
    DryRunOption,
    EffortOption,
    EvaluateEveryOption,
    ExecutorOption,
    ExhaustiveOption,
    JobsOption,
    JsonOption,
    NoiseScaleOption,
    ObjectiveOption,
    OutputOption,
    PrecisionOption,
    RatesOption,
    ReuseOption,
    RuleOption,
    ScheduleOption,
    SeedOption,
    SeedsOption,
    StoreOption,
    TargetOption,
    TaskName,
    TuneOption,
    WarmupOption,
    read_budget,
    read_budgets,
    read_names,
    read_rates,
    read_sizes,
)
from batchscope.cli.output import make_console, print_json, reporting, watching
from batchscope.cli.terms_options import (
    CarbonOption,
    DeadlineOption,
    DeviceHourOption,
    GoalOption,
    KilowattHourOption,
    MaxCostOption,
    MemoryOption,
    WaitingHourOption,
    WattsOption,
    read_deadline,
    read_prices,
    read_watts,
)
from batchscope.errors import CannotTell


@app.command()
def profile(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    devices: DevicesOption = 1,
    store: StoreOption = STORE,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Measure seconds per step at each batch size.

    Example: batchscope profile digits-cnn --batch-sizes 32,128,512
    """
    with reporting(debug), watching() as watcher:
        from batchscope.verbs.profiling import profile as profile_task

        result = profile_task(
            task,
            batch_sizes=read_sizes(batch_sizes),
            device=device,
            precision=precision,
            devices=devices,
            store=store,
            watcher=watcher,
        )
        watcher.close()
        if json:
            print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_profile

            show_profile(make_console(), result)


@app.command()
def study(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    budget: BudgetOption = None,
    target: TargetOption = None,
    objective: ObjectiveOption = "time",
    effort: EffortOption = "standard",
    seed: SeedOption = 0,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    learning_rates: RatesOption = None,
    exhaustive: ExhaustiveOption = False,
    schedule: ScheduleOption = "constant",
    warmup: WarmupOption = 0.0,
    rule: RuleOption = None,
    base: BaseOption = 32,
    noise_scale: NoiseScaleOption = None,
    detect: DetectOption = None,
    also_read: AlsoReadOption = None,
    evaluate_every: EvaluateEveryOption = None,
    tune: TuneOption = None,
    devices: DevicesOption = 1,
    executor: ExecutorOption = "local",
    jobs: JobsOption = None,
    store: StoreOption = STORE,
    reuse_changed: ReuseOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train at each batch size, the learning rate re-tuned at each.

    An interrupted study goes on with the same command.

    Example: batchscope study mytask.py:task --batch-sizes 16..256 --budget 10ep
    """
    with reporting(debug, store), watching() as watcher:
        options: dict[str, Any] = {
            "batch_sizes": read_sizes(batch_sizes),
            "budget": read_budget(budget),
            "target": target,
            "objective": objective,
            "effort": effort,
            "seed": seed,
            "seeds": seeds,
            "device": device,
            "precision": precision,
            "learning_rates": read_rates(learning_rates),
            "exhaustive": exhaustive,
            "schedule": schedule,
            "warmup": warmup,
            "rule": rule,
            "base": base,
            "noise_scale": noise_scale,
            "detect": detect,
            "also_read": read_budgets(also_read),
            "evaluate_every": read_budget(evaluate_every, where="--evaluate-every"),
            "tune": read_names(tune),
            "devices": devices,
        }
        if dry_run:
            from batchscope.verbs.preview import preview

            foreseen = preview(task, store=store, **options)
            watcher.close()
            if json:
                print_json(foreseen.to_dict())
            else:
                from batchscope.reports.terminal import show_preview

                show_preview(make_console(), foreseen)
            return

        from batchscope.verbs.studying import study as study_task

        result = study_task(
            task,
            **options,
            executor=executor,
            jobs=jobs,
            store=store,
            reuse_changed=reuse_changed,
            watcher=watcher,
        )
        watcher.close()
        if json:
            print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_study

            show_study(make_console(), result)


@app.command()
def recommend(
    task: TaskName,
    batch_sizes: BatchSizes = None,
    budget: BudgetOption = None,
    target: TargetOption = None,
    objective: GoalOption = "time",
    effort: EffortOption = "standard",
    seed: SeedOption = 0,
    seeds: SeedsOption = None,
    device: DeviceOption = None,
    precision: PrecisionOption = None,
    learning_rates: RatesOption = None,
    exhaustive: ExhaustiveOption = False,
    schedule: ScheduleOption = "constant",
    warmup: WarmupOption = 0.0,
    rule: RuleOption = None,
    base: BaseOption = 32,
    noise_scale: NoiseScaleOption = None,
    detect: DetectOption = None,
    also_read: AlsoReadOption = None,
    tune: TuneOption = None,
    devices: DevicesOption = 1,
    executor: ExecutorOption = "local",
    jobs: JobsOption = None,
    store: StoreOption = STORE,
    reuse_changed: ReuseOption = False,
    deadline: DeadlineOption = None,
    max_cost: MaxCostOption = None,
    memory: MemoryOption = None,
    device_hour: DeviceHourOption = 0.0,
    kilowatt_hour: KilowattHourOption = 0.0,
    watts: WattsOption = None,
    carbon: CarbonOption = 0.0,
    waiting_hour: WaitingHourOption = 0.0,
    output: OutputOption = REPORT,
    config: ConfigOption = None,
    json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Say which batch size to use, and why.

    The last line is the path of the page that shows it. An interrupted search goes on with the
    same command.

    Example: batchscope recommend mytask.py:task --target "error<=0.05" --effort quick
    """
    with reporting(debug, store), watching() as watcher:
        from batchscope.reports.page import check_page_path
        from batchscope.reports.page import report as write_report
        from batchscope.verbs.recommending import search

        check_page_path(str(output))
        searched = search(
            task,
            objective=objective,
            prices=read_prices(
                device_hour=device_hour,
                kilowatt_hour=kilowatt_hour,
                carbon=carbon,
                waiting_hour=waiting_hour,
            ),
            watts=read_watts(watts),
            deadline=read_deadline(deadline),
            max_cost=max_cost,
            memory=memory,
            batch_sizes=read_sizes(batch_sizes),
            budget=read_budget(budget),
            target=target,
            effort=effort,
            seed=seed,
            seeds=seeds,
            device=device,
            precision=precision,
            learning_rates=read_rates(learning_rates),
            exhaustive=exhaustive,
            schedule=schedule,
            warmup=warmup,
            rule=rule,
            base=base,
            noise_scale=noise_scale,
            detect=detect,
            also_read=read_budgets(also_read),
            tune=read_names(tune),
            devices=devices,
            executor=executor,
            jobs=jobs,
            store=store,
            reuse_changed=reuse_changed,
            watcher=watcher,
        )
        watcher.close()
        try:
            result = searched.read()
        except CannotTell:
            page = write_report(searched.study, str(output))
            print(f"What the runs show: {page}", file=sys.stderr)
            raise
        page = write_report(searched.study, str(output), recommendation=result)
        result = result.with_report(page)
        if json:
            print_json(result.to_dict())
        else:
            from batchscope.reports.terminal import show_recommendation

            show_recommendation(make_console(), result)
            print(page)
