"""The tables of ``sidecar.db``, and how a file of each earlier version gets them.

A step stays as it is once it was released: files of its version are out there. The tables are those after the last.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from sqlalchemy import Column, Float, Integer, MetaData, String, Table

from sidecar.migrations import Migration

metadata = MetaData()
answers = Table(
    "answers",
    metadata,
    Column("user", String, primary_key=True),
    Column("chat", String, primary_key=True),
    Column("answer", String, primary_key=True),
    Column("parent", String, nullable=False),
    Column("persona", String, nullable=False),
    Column("session", String, nullable=False),
    Column("message", String, nullable=False),
    Column("at", Float, nullable=False),
)
personas = Table(
    "personas",
    metadata,
    Column("user", String, primary_key=True),
    Column("persona", String, primary_key=True),
    Column("model", String, nullable=False),
    Column("picked", String, nullable=False),
    Column("meta", String, nullable=False),
    Column("at", Float, nullable=False),
)
usage = Table(
    "usage",
    metadata,
    Column("day", String, primary_key=True),
    Column("user", String, primary_key=True),
    Column("persona", String, primary_key=True),
    Column("provider", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("calls", Integer, nullable=False),
    Column("input_tokens", Integer, nullable=False),
    Column("output_tokens", Integer, nullable=False),
)
forgotten = Table(
    "forgotten",
    metadata,
    Column("user", String, primary_key=True),
    Column("chat", String, primary_key=True),
    Column("at", Float, nullable=False),
)


def _answers_and_personas(connection: sqlite3.Connection) -> None:
    """``IF NOT EXISTS``: the first release could be stopped between its tables and its version number."""
    connection.execute(
        """CREATE TABLE IF NOT EXISTS answers (
            "user" VARCHAR NOT NULL, chat VARCHAR NOT NULL, answer VARCHAR NOT NULL, parent VARCHAR NOT NULL,
            persona VARCHAR NOT NULL, session VARCHAR NOT NULL, message VARCHAR NOT NULL, at FLOAT NOT NULL,
            PRIMARY KEY ("user", chat, answer))"""
    )
    connection.execute(
        """CREATE TABLE IF NOT EXISTS personas (
            "user" VARCHAR NOT NULL, persona VARCHAR NOT NULL, model VARCHAR NOT NULL, picked VARCHAR NOT NULL,
            meta VARCHAR NOT NULL, at FLOAT NOT NULL,
            PRIMARY KEY ("user", persona))"""
    )


def _usage(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE IF NOT EXISTS usage (
            day VARCHAR NOT NULL, "user" VARCHAR NOT NULL, persona VARCHAR NOT NULL, provider VARCHAR NOT NULL,
            model VARCHAR NOT NULL, calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL,
            output_tokens INTEGER NOT NULL,
            PRIMARY KEY (day, "user", persona, provider, model))"""
    )


def _forgotten(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE forgotten (
            "user" VARCHAR NOT NULL, chat VARCHAR NOT NULL, at FLOAT NOT NULL,
            PRIMARY KEY ("user", chat))"""
    )


STEPS: Final[tuple[Migration, ...]] = (_answers_and_personas, _usage, _forgotten)
