"""The call journal: every answer is committed with its call's record before anybody uses it.

A node that runs again, after a kill or a pause, finds the answers to the questions that it asks again here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from swarm_graph.checkpoints.catalogue import CALL_COLUMNS, Catalogue
from swarm_graph.errors import AnswerError
from swarm_graph.state import Evidence, Reply, TaskRecord

INSERT = (
    f"INSERT INTO calls (session, key, answer, {', '.join(CALL_COLUMNS)}) "
    f"VALUES (?, ?, ?{', ?' * len(CALL_COLUMNS)})"
)


class Journal:
    """The journal of one session, for one run of it. `ended`: the tasks that have ended in this run.

    `answered`: whether earlier runs may have left answers; those of a new request never did.
    """

    def __init__(self, catalogue: Catalogue, session: str, *, answered: bool) -> None:
        self.catalogue, self.session, self.answered = catalogue, session, answered
        self.ended: dict[str, TaskRecord] = {}

    async def find(self, task: str, iteration: int, key: str) -> Reply | None:
        """The answer that a task got to a question in a round, if it got one."""
        if not self.answered:
            return None
        return await self.catalogue.database.run(self._find, task, iteration, key)

    async def record(self, call: Mapping[str, Any], key: str, reply: Reply | None) -> None:
        """Commits one attempt of a call, with its answer if there is one."""
        await self.catalogue.database.run(self._record, call, key, reply)

    async def tested(self, shown: Evidence, iteration: int) -> None:
        """Commits what a run of the tests showed; the same run again takes the place of the first."""
        await self.catalogue.database.run(
            self.catalogue.put_test_run, self.session, "run", iteration, shown["attempt"], shown
        )

    async def end_task(self, task: TaskRecord) -> None:
        """Commits that a task ended, for who looks at the session before its run has ended."""
        self.ended[task["task_id"]] = task
        await self.catalogue.database.run(self.catalogue.put_tasks, self.session, [task])

    async def fail_task(self, task: TaskRecord, error: Exception) -> None:
        """Commits that a task failed. Answers that nobody could use go, so that it is asked again."""
        await self.catalogue.database.run(self._fail_task, task, error)

    def _find(self, task: str, iteration: int, key: str) -> Reply | None:
        with self.catalogue.database.view() as cursor:
            row = cursor.execute(
                "SELECT answer, outcome, input_tokens, output_tokens FROM calls "
                "WHERE session = ? AND task = ? AND iteration = ? AND key = ? AND answer IS NOT NULL "
                "ORDER BY rowid DESC LIMIT 1",
                (self.session, task, iteration, key),
            ).fetchone()
        return Reply(row[0], row[1] == "truncated", row[2], row[3]) if row else None

    def _record(self, call: Mapping[str, Any], key: str, reply: Reply | None) -> None:
        row = [call.get(name) for name in CALL_COLUMNS]
        with self.catalogue.database.transaction() as cursor:
            cursor.execute(INSERT, (self.session, key, reply.text if reply else None, *row))

    def _fail_task(self, task: TaskRecord, error: Exception) -> None:
        with self.catalogue.database.transaction() as cursor:
            self.catalogue.put_tasks(self.session, [task], str(error))
            if isinstance(error, AnswerError):
                cursor.execute(
                    "UPDATE calls SET answer = NULL WHERE session = ? AND task = ? AND iteration = ?",
                    (self.session, task["task_id"], task["iteration"]),
                )


def question_key(question: Any) -> str:
    """The key of a question: a hash of its messages and parameters, the same in every process."""
    return sha256(json.dumps(question, sort_keys=True, default=str).encode()).hexdigest()[:32]
