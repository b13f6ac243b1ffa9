"""What a worker keeps of a session while it runs tasks of it: configuration, prompts, models, connections.

It comes from the database: the configuration that the session's run has recorded, and the prompts as they
were when it began. For a session of somebody else it is the worker's own, as when such a session is resumed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.runtime import Runtime

from swarm_graph.checkpoints.catalogue import Catalogue
from swarm_graph.checkpoints.journal import Journal
from swarm_graph.checkpoints.places import Places, is_below
from swarm_graph.checkpoints.records import Session
from swarm_graph.checkpoints.signatures import is_own
from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.checkpoints.task_threads import TaskThreads
from swarm_graph.config import SwarmConfig, load_config
from swarm_graph.errors import ConfigError, InputError, ModelError, OverBudget, Stopped
from swarm_graph.prompts.template import is_path
from swarm_graph.roles.approval import WaitsForPerson
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.run import RunContext, RunOptions
from swarm_graph.sessions.fingerprints import recorded_texts
from swarm_graph.sessions.resume import resume_config
from swarm_graph.state import TaskRecord
from swarm_graph.tasks.elsewhere import ReadyTask
from swarm_graph.tasks.expansion import TaskLimit
from swarm_graph.tasks.one_task import TaskRunner
from swarm_graph.tasks.prompting import TaskPrompts
from swarm_graph.tasks.spec import TaskSpec
from swarm_graph.tasks.task_run import RUNTIME, config_in_tasks, run_task
from swarm_graph.workers.files import ReceivedFiles
from swarm_graph.workers.shared_budget import SharedBudget, has_limits
from swarm_graph.workers.task_job import TaskJob, hash_of
from swarm_graph.workflows.build import store_of, with_declared_kind

MAX_GRAPHS = 16
"""Of how many runs of sessions a worker keeps what their tasks share, besides those that it works for."""
NO_TOKENS = frozenset({"tokens"})
"""What the conductor's observers are not told of: pieces of answers, which pages read in the database."""

Outcome = dict[str, Any]
"""How a task ended, as JSON: what `conductor` makes a `TaskEnd` of."""


class TaskGraph:
    """One run of a session, for the tasks of it that this worker runs.

    Args:
        saver: The worker's connection to the database.
        folder: Where this worker keeps what it receives.
        session: The session.
        job: A job of the run.
        own: The worker's configuration for the sessions of others.
        is_own: Whether the session and the job are the user's own.

    Attributes:
        users: How many jobs use it now.
    """

    def __init__(
        self,
        saver: SwarmSaver,
        folder: Path,
        session: Session,
        job: TaskJob,
        own: SwarmConfig | None,
        *,
        is_own: bool,
    ) -> None:
        self.users = 0
        self._saver, self._session, self._job, self._is_own = saver, session, job, is_own
        catalogue = saver.catalogue
        self._received = ReceivedFiles(folder, session.session, job.run)
        sources = catalogue.sources(session.session)
        self._hashes = {source.name: source.sha256 for source in sources if source.kind == "input"}
        texts = recorded_texts(catalogue, session.session) if is_own else {}
        if is_own:
            config = load_config(_signed_config(catalogue, session, job, texts)).with_graph_of(session.config)
        else:
            config = resume_config(session, own, trusted=False, simulate=session.simulated).config
        config = with_declared_kind(config).without_repo()
        self._bindings = Bindings(config, texts)
        self._bindings.roles.load()
        limits, name = config.limits, session.session
        options = RunOptions(temperature=job.temperature)
        places = Places(received=str(self._received.folder))
        self._run = RunContext(
            config,
            options,
            saver=saver,
            budget=SharedBudget(limits, saver.database, name) if has_limits(limits) else None,
            is_own=is_own,
            is_new=not job.is_again,
            store=store_of(config, saver),
            places=places,
        )
        self._run.journal = self._journal("", has_answers=job.is_again)
        if config.mcp_servers:
            self._run.tool_servers(config)  # one connection to each for all jobs
        only_below = None if is_own else self._received.folder
        no_limit = TaskLimit(config.workflow.max_tasks, set())
        self._prompts = TaskPrompts(self._bindings, job.purpose, no_limit, places, only_below, config)
        self.threads = TaskThreads(saver, session.session, job.request, catalogue=catalogue)

    def _journal(self, lock: str, *, has_answers: bool) -> Journal:
        config, catalogue = self._bindings.config, self._saver.catalogue
        keeps_texts, keeps_events = config.features.keep_prompts, config.ui.events
        return Journal(
            catalogue,
            self._session.session,
            has_answers=has_answers,
            transcript=catalogue.transcript if keeps_texts or keeps_events else None,
            keeps_texts=keeps_texts,
            keeps_events=keeps_events,
            run=self._job.run,
            on_stop=self._run.stop.set,
            lock=lock,
        )

    def stop(self) -> None:
        """Let no other call of the run begin here."""
        self._run.stop.set()

    async def run_task(self, ready: ReadyTask, lock: str, *, is_again: bool) -> Outcome:
        """Run a task; returns how it ended. A record is not committed yet.

        Args:
            ready: The task.
            lock: The name of the job's lock.
            is_again: Whether another worker has begun it before.

        Raises:
            StorageError: The database cannot be used.
            SessionInUse: The job is another worker's by now.
        """
        name, events = ready.record["task_id"], list[Any]()
        try:
            record = await self._record_of(ready, lock, events, is_again=is_again)
        except (ModelError, InputError, ConfigError) as error:
            return {"error": str(error), "events": events}
        except WaitsForPerson as waits:
            return {"pause": dict(waits.pause), "events": events}
        except Stopped as stopped:
            return {"stopped": str(stopped), "events": events}
        except OverBudget as spent:
            return {"over_budget": str(spent), "events": events}
        before: Mapping[str, Any] = ready.record
        changes = {key: value for key, value in record.items() if before.get(key, ...) != value}
        return {"record": {"task_id": name, **changes}, "events": events}

    async def _record_of(
        self, ready: ReadyTask, lock: str, events: list[Any], *, is_again: bool
    ) -> TaskRecord:
        def write(event: Any) -> None:
            if event.get("kind") not in NO_TOKENS:
                events.append(event)

        run, spec = copy(self._run), TaskSpec.model_validate(ready.record["spec"])
        run.journal = self._journal(lock, has_answers=self._job.is_again or is_again)
        run.is_new = run.is_new and not is_again
        prompts = copy(self._prompts)
        limit = self._bindings.config.workflow.max_tasks
        prompts.limit = TaskLimit(limit, {*ready.below}, ready.initial, ready.others)
        if spec.files:
            await asyncio.to_thread(self._receive, spec)
        self._refuse_prompt_here(spec)
        session = self._session.session
        config: RunnableConfig = {"configurable": {"thread_id": session, "checkpoint_ns": ""}}
        decisions = dict(ready.decisions) if self._is_own else {}
        runner = TaskRunner(
            self._bindings,
            run,
            config,
            session,
            self._job.request,
            prompts,
            self.threads,
            write,
            decisions=decisions,
        )
        results = {need: found for need in ready.needs if (found := await self.threads.find(need))}
        if missing := [need for need in ready.needs if need not in results]:
            raise InputError(f"{spec.task_id}: the database has no result of '{missing[0]}', which it needs")

        async def ask(_: str) -> TaskRecord:
            return await runner.ask(spec, ready.record, results)

        runtime: Runtime[Any] = Runtime(context=run, store=run.store, stream_writer=write)
        return await run_task(spec.task_id, ask, config_in_tasks({"configurable": {RUNTIME: runtime}}, write))

    def _receive(self, spec: TaskSpec) -> None:
        """Write the files of a task. Raises InputError for one that did not come with the session."""
        self._received.receive(self._saver.database, spec.files, self._hashes)
        for name in spec.files:
            if not Path(self._run.places.input_file(name)).exists():
                raise self._not_here(spec, "file", name)

    @staticmethod
    def _not_here(spec: TaskSpec, what: str, name: str) -> InputError:
        return InputError(
            f"{spec.task_id}: its {what} '{name}' did not come with the session, and a worker reads no "
            "file of its own machine; `submit resume` sends it, if it is still what it was"
        )

    def leave(self) -> None:
        """A job does not use it any more. Without one, the files that its tasks have read are removed."""
        self.users -= 1
        if not self.users:
            self._received.remove()

    def _refuse_prompt_here(self, spec: TaskSpec) -> None:
        """Raise InputError for a prompt of a task that did not come with the session."""
        if not spec.prompt or not is_path(spec.prompt) or spec.prompt in self._bindings.texts:
            return
        if not is_below(self._run.places.present(spec.prompt), self._received.folder):
            raise self._not_here(spec, "prompt", spec.prompt)

    async def close(self) -> None:
        """End its connections."""
        await self._run.close()


class TaskGraphs:
    """What a worker keeps of the sessions whose tasks it runs.

    Args:
        saver: The worker's connection to the database.
        folder: Where this worker keeps what it receives.
        own: The worker's configuration for the sessions of others; None for what may be used of theirs.
    """

    def __init__(self, saver: SwarmSaver, folder: Path, own: SwarmConfig | None) -> None:
        self._saver, self._folder, self._own = saver, folder, own
        self._graphs: dict[tuple[str, bool], asyncio.Task[TaskGraph]] = {}

    async def of(self, job: TaskJob, *, is_signed: bool) -> TaskGraph:
        """What the tasks of a job share; it is kept while its `users` are not 0.

        Raises:
            InputError: The session is gone.
            ConfigError: Its configuration cannot be used here.
        """
        key = job.order, is_signed
        opening = self._graphs.pop(key, None)
        if opening is None or (opening.done() and opening.exception()):
            opening = asyncio.create_task(asyncio.to_thread(self._open, job, is_signed))
        self._graphs[key] = opening  # the one that was used last is the last
        await self._forget()
        graph = await asyncio.shield(opening)
        graph.users += 1
        return graph

    def _open(self, job: TaskJob, is_signed: bool) -> TaskGraph:
        session = self._saver.catalogue.get(job.session)
        if session is None:
            raise InputError(f"there is no session '{job.session}' any more")
        is_here = job.database in self._saver.database.identities
        own = is_signed and is_here and is_own(self._saver.catalogue, session)
        return TaskGraph(self._saver, self._folder, session, job, self._own, is_own=own)

    async def _forget(self) -> None:
        """Close what was not used for the longest time."""
        idle = [key for key, opening in self._graphs.items() if _is_idle(opening)]
        for key in idle[: max(0, len(self._graphs) - MAX_GRAPHS)]:
            await self._graphs.pop(key).result().close()

    async def close(self) -> None:
        """Close all that is not used."""
        for key in [key for key, opening in self._graphs.items() if _is_idle(opening)]:
            await self._graphs.pop(key).result().close()


def _signed_config(
    catalogue: Catalogue, session: Session, job: TaskJob, texts: Mapping[str, str]
) -> dict[str, Any]:
    """The configuration of a job's run, as whoever signed the job has recorded it.

    Raises:
        InputError: It is another one by now, or the texts of the prompts are: somebody has written into the
            database.
    """
    recorded = catalogue.config_of_run(job.run)
    config = session.config if recorded is None else recorded
    is_same = hash_of(config) == job.config
    if not is_same or hash_of(texts) != job.prompts:
        changed = "prompts" if is_same else "configuration"
        raise InputError(
            f"somebody has changed the {changed} of session '{session.session}' in the database since its "
            "tasks were put into the queue, so they are not run"
        )
    return config


def _is_idle(opening: asyncio.Task[TaskGraph]) -> bool:
    return opening.done() and not opening.exception() and not opening.result().users
