"""Tables of ``spine.db`` that the route writes."""

from __future__ import annotations

import sqlalchemy as sa

from dataspine.core.database import metadata

__all__ = ["flushes", "outcomes"]

flushes = sa.Table(
    "cdc_flushes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uid", sa.String(32), nullable=False, unique=True),
    sa.Column("route", sa.String(64), nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("sink", sa.String(64), nullable=False),
    sa.Column("end_lsn", sa.BigInteger, nullable=False),
    sa.Column("revision", sa.String(200), nullable=False),
    sa.Column("counts", sa.JSON, nullable=False),
    sa.Column("classes", sa.JSON, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Index("ix_cdc_flushes_route", "route", "source", "sink", "state"),
)

# What the applied flushes of a route add up to, so that nobody has to read them all.
outcomes = sa.Table(
    "cdc_outcomes",
    metadata,
    sa.Column("route", sa.String(64), primary_key=True),
    sa.Column("sink", sa.String(64), primary_key=True),
    sa.Column("outcome", sa.String(16), primary_key=True),
    sa.Column("records", sa.BigInteger, nullable=False),
)
