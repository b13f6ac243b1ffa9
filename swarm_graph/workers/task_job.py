"""A job that runs tasks of a session: what a worker has to know, signed by the process that conducts it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.signatures import is_signed_text, sign_text
from swarm_graph.errors import InputError
from swarm_graph.tasks.elsewhere import ReadyTask

TASKS = "tasks"
"""The name of the jobs that run tasks of sessions."""
_PURPOSE = "swarm_graph tasks 1"


@dataclass(frozen=True)
class TaskJob:
    """Tasks of one session that a worker runs one after the other.

    Attributes:
        database: What tells the database from others.
        session: The session.
        request: An id that all tasks of the request share.
        run: The run of the session in the catalogue.
        purpose: The purpose of the whole work.
        is_again: Whether earlier runs may have left answers, and what they have recalled.
        temperature: The temperature that the caller gave for the run, in place of the configured ones.
        config: The hash of the run's configuration (`hash_of`).
        prompts: The hash of the texts of its prompts.
        model: The entry of multi_model that all of them ask first; empty if there is only one model.
        tasks: The tasks.
    """

    database: str
    session: str
    request: str
    run: int
    purpose: str
    is_again: bool
    temperature: float | None
    config: str
    prompts: str
    model: str
    tasks: Sequence[ReadyTask]

    @property
    def order(self) -> str:
        """What it says besides its tasks, which it shares with other jobs of the run."""
        return json.dumps({**vars(self), "tasks": None, "model": None})

    @property
    def names(self) -> list[str]:
        """The ids of the tasks."""
        return [task.record["task_id"] for task in self.tasks]

    def signed(self) -> dict[str, str]:
        """The arguments of the job. JSON in a text: PostgreSQL refuses some characters in JSON of its own."""
        text = json.dumps({**vars(self), "tasks": [vars(task) for task in self.tasks]})
        return {"tasks": text, "signature": sign_text(f"{_PURPOSE} {text}")}


def hash_of(values: Mapping[str, Any]) -> str:
    """The hash of JSON-like values by name, such as a configuration or the texts of prompts."""
    return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_job(arguments: Mapping[str, Any]) -> tuple[TaskJob, bool]:
    """A job from its arguments, and whether this user has signed it.

    Raises:
        InputError: They are none of a job.
    """
    try:
        text, signature = str(arguments["tasks"]), str(arguments["signature"])
        given = json.loads(text)
        tasks = [
            ReadyTask(**{**task, "needs": (*task["needs"],), "below": (*task["below"],)})
            for task in given["tasks"]
        ]
        return TaskJob(**{**given, "tasks": tasks}), is_signed_text(f"{_PURPOSE} {text}", signature)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            f"the job holds no tasks as this version of swarm_graph writes them ({type(error).__name__}); "
            "conductors and workers need the same version"
        ) from error
