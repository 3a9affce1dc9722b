"""Records as the rows of a store, and back."""

import io
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

import polars as pl
import sqlalchemy as sa

from batchscope.budget import parse_budget
from batchscope.records import (
    Configuration,
    Measurement,
    PowerReading,
    Provenance,
    Run,
    StepTime,
    Trajectory,
)

Row = dict[str, Any]


def run_to_row(run: Run) -> Row:
    """A run as a row of the table `runs`."""
    configuration = run.configuration
    return {
        "key": run.key,
        "task": run.task,
        "fingerprint": configuration.fingerprint,
        "batch_size": configuration.batch_size,
        "learning_rate": configuration.learning_rate,
        "seed": configuration.seed,
        "status": run.status,
        "steps": run.steps,
        "configuration": configuration.to_dict(),
        "provenance": run.provenance.to_dict(),
        "trajectory": _trajectory_to_bytes(run.trajectory),
    }


def run_from_row(row: sa.RowMapping) -> Run:
    """The run in a row of the table `runs`."""
    return Run(
        task=row["task"],
        configuration=_configuration_from_dict(row["configuration"]),
        status=row["status"],
        steps=row["steps"],
        trajectory=_trajectory_from_bytes(row["trajectory"]),
        provenance=_provenance_from_dict(row["provenance"]),
    )


def measurement_to_row(measurement: Measurement) -> Row:
    """A measurement as a row of the table `measurements`."""
    return {
        "task": measurement.task,
        "fingerprint": measurement.fingerprint,
        "precision": measurement.precision,
        "device_kind": measurement.device_kind,
        "steps": [asdict(step) for step in measurement.steps],
        "examples": measurement.examples,
        "provenance": measurement.provenance.to_dict(),
    }


def measurement_from_row(row: sa.RowMapping) -> Measurement:
    """The measurement in a row of the table `measurements`."""
    return Measurement(
        task=row["task"],
        fingerprint=row["fingerprint"],
        precision=row["precision"],
        device_kind=row["device_kind"],
        steps=tuple(
            StepTime(batch_size=step["batch_size"], seconds=tuple(step["seconds"]))
            for step in cast(list[Row], row["steps"])
        ),
        examples=row["examples"],
        provenance=_provenance_from_dict(row["provenance"]),
    )


def power_to_row(reading: PowerReading) -> Row:
    """A reading of power as a row of the table `powers`."""
    return asdict(reading) | {"provenance": reading.provenance.to_dict()}


def power_from_row(row: sa.RowMapping) -> PowerReading:
    """The reading in a row of the table `powers`."""
    fields: dict[str, Any] = {name: value for name, value in row.items() if name != "id"}
    fields["provenance"] = _provenance_from_dict(row["provenance"])
    return PowerReading(**fields)


def _configuration_from_dict(values: Mapping[str, Any]) -> Configuration:
    fields: dict[str, Any] = {
        **values,
        "budget": parse_budget(values["budget"]),
        "also_read": tuple(values.get("also_read", ())),
    }
    return Configuration(**fields)


def _provenance_from_dict(values: Mapping[str, Any]) -> Provenance:
    load = values["load_average"]
    fields: dict[str, Any] = {**values, "load_average": math.nan if load is None else load}
    return Provenance(**fields)


def _trajectory_to_bytes(trajectory: Trajectory) -> bytes:
    buffer = io.BytesIO()
    frame = pl.DataFrame({name: list(column) for name, column in trajectory.columns.items()})
    frame.write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


def _trajectory_from_bytes(data: bytes) -> Trajectory:
    frame = pl.read_ipc(io.BytesIO(data))
    return Trajectory(columns={column.name: tuple(column.to_list()) for column in frame})
