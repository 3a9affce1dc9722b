"""The tables of a store."""

import sqlalchemy as sa

SCHEMA_VERSION = 2

metadata = sa.MetaData()

about = sa.Table(
    "batchscope",
    metadata,
    sa.Column("schema_version", sa.Integer, primary_key=True),
)

tasks = sa.Table(
    "tasks",
    metadata,
    sa.Column("fingerprint", sa.String(16), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("parts", sa.JSON, nullable=False),
    sa.Column("facts", sa.JSON, nullable=False),
    sa.Column("seen", sa.Float, nullable=False),
)

studies = sa.Table(
    "studies",
    metadata,
    sa.Column("id", sa.String(8), primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False),
    sa.Column("plan", sa.JSON, nullable=False),
    sa.Column("used", sa.Float, nullable=False),
)

study_runs = sa.Table(
    "study_runs",
    metadata,
    sa.Column("study", sa.String(8), primary_key=True),
    sa.Column("key", sa.String(24), primary_key=True),
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("key", sa.String(24), primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("learning_rate", sa.Float, nullable=False),
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("steps", sa.Integer, nullable=False),
    sa.Column("configuration", sa.JSON, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
    sa.Column("trajectory", sa.LargeBinary, nullable=False),
)

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
    sa.Column("precision", sa.String(8), nullable=False),
    sa.Column("device_kind", sa.String(8), nullable=False),
    sa.Column("steps", sa.JSON, nullable=False),
    sa.Column("examples", sa.BigInteger, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
)

answers = sa.Table(
    "answers",
    metadata,
    sa.Column("key", sa.String(24), primary_key=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
    sa.Column("answer", sa.JSON, nullable=False),
)

powers = sa.Table(
    "powers",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("task", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.String(16), nullable=False, index=True),
    sa.Column("precision", sa.String(8), nullable=False),
    sa.Column("device_kind", sa.String(8), nullable=False),
    sa.Column("batch_size", sa.Integer, nullable=False),
    sa.Column("watts", sa.Float, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("is_measured", sa.Boolean, nullable=False),
    sa.Column("examples", sa.BigInteger, nullable=False),
    sa.Column("provenance", sa.JSON, nullable=False),
)

claims = sa.Table(
    "claims",
    metadata,
    sa.Column("key", sa.String(24), primary_key=True),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("process", sa.Integer, nullable=False),
    sa.Column("started", sa.Float, nullable=False),
    sa.Column("renewed", sa.Float, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("share", sa.Float, nullable=False),
    sa.Column("loss", sa.Float),
)
