"""What every shape of the API shares, as the OpenAPI document shows it: requests are strict, answers are read off rows."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from ninja import Field, Schema
from pydantic import AfterValidator, ConfigDict

from strategies_app.grammar.schema import MOST_OF_SYMBOL, SYMBOL


def _plain(value: str) -> str:
    if any(ord(letter) < 32 and letter not in "\t\n\r" for letter in value):
        raise ValueError("has a control character")
    return value


Text = Annotated[str, AfterValidator(_plain)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Path = Annotated[Text, Field(max_length=4096)]
Reason = Annotated[Text, Field(max_length=2000)]
Symbol = Annotated[Text, Field(pattern=SYMBOL, max_length=MOST_OF_SYMBOL)]


class Request(Schema):
    model_config = ConfigDict(extra="forbid")


class Problem(Schema):
    path: str
    line: int | None = None
    column: int | None = None
    message: str


class Error(Schema):
    code: str
    message: str
    details: dict[str, Any] = Field(
        description="`problems` of a strategy or a request; `findings` where bars are refused, as under operations/{id}/checks"
    )


class ErrorBody(Schema):
    error: Error


class Asked(Schema):
    """The answer takes longer: ask again at `where`."""

    job: str
    where: str


class Worker(Schema):
    name: str
    queue: str
    status: str
    state: str = Field(description="an older word for `status`; gone after the next release", deprecated=True)
    job: str | None
    heartbeat: dt.datetime
    environment: dict[str, Any]

    @staticmethod
    def resolve_status(worker: Any) -> str:
        return str(worker.state)


class Workers(Schema):
    workers: list[Worker]
    next_cursor: str | None


class Health(Schema):
    status: Literal["ok", "failing"]
    database: str | None = None
    redis: str | None = None
    redis_state: Literal["ok", "full", "away"] | None = None
    workers: dict[str, int] | None = None
    folders: dict[str, str] | None = Field(None, description="`ok`, or a sentence where one is not there")
