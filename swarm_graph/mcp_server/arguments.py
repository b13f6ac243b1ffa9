"""The arguments of the tools: their types, limits and descriptions are what clients are shown."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swarm_graph.errors import InputError
from swarm_graph.text import cut

MAX_REQUEST = 200_000
MAX_WAIT_S = 240
"""Below the time that clients wait for an answer over HTTP."""


class Arguments(BaseModel):
    """The arguments of a tool; an unknown one is refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class Start(Arguments):
    """The arguments of `start`."""

    request: str = Field(
        max_length=MAX_REQUEST, description="What to build, write or review, in plain words."
    )
    workflow: str | None = Field(
        None, max_length=80, description="The workflow to run; default: the first that is offered."
    )
    session: str | None = Field(None, max_length=80, description="An id of your choice; default: a new one.")
    follow_up: bool = Field(False, description="Go on from an ended `session` with this new request.")
    kind: Literal["code", "document"] | None = Field(
        None, description="What it makes; default: as the server is configured."
    )
    diff: str = Field(
        "", max_length=400, description="With review_only: review this range of the repository, as in main..."
    )
    inputs: list[str] = Field([], description="Files to add, as paths in the server's folder.")


class OneSession(Arguments):
    """The arguments of tools that need only a session."""

    id: str = Field(max_length=80, description="The id of the session.")


class Wait(OneSession):
    """The arguments of `wait`."""

    seconds: float = Field(30, ge=0, le=MAX_WAIT_S, description="How long to wait at most.")


class Result(OneSession):
    """The arguments of `result`."""

    max_characters: int = Field(
        20_000, ge=0, le=400_000, description="Of the texts of files; resources have the rest."
    )


class Sessions(Arguments):
    """The arguments of `sessions`."""

    limit: int = Field(20, ge=1, le=200, description="How many, at most.")
    phase: str | None = Field(
        None, max_length=40, description="Only this phase: running, paused, complete, failed, interrupted, …."
    )


class Answer(OneSession):
    """The arguments of `answer`."""

    decision: Literal["approve", "approve_for_session", "edit", "reject"] = Field(
        description="What the person decided; approve_for_session is for calls of a tool only."
    )
    pause: str = Field(
        max_length=200, description="The pause that the person was shown, as `status` names it."
    )
    edit: str | dict[str, Any] | None = Field(
        None, description="With edit: the new text, or an object of the keys in `editable`."
    )
    remark: str | None = Field(None, max_length=20_000, description="With reject: what is wrong.")


def read_arguments(model: type[Arguments], given: dict[str, Any] | None) -> Any:
    """Arguments as the model. Raises InputError, which names the first that cannot be used."""
    try:
        return model.model_validate(given or {})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or "arguments"
        allowed = ", ".join(model.model_fields)
        if first["type"] == "extra_forbidden":
            raise InputError(f"there is no argument {cut(name, 80)!r}; allowed: {allowed}") from None
        raise InputError(f"the argument {cut(name, 80)!r} cannot be used: {first['msg']}") from None
