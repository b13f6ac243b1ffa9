"""Where the steps of a turn are kept: in our journal, in a thread of the saver, or nowhere."""

from __future__ import annotations

from functools import partial

from langchain_core.runnables import RunnableConfig

from swarm_graph.checkpoints.steps import NoSteps, Steps
from swarm_graph.models.masking import masked
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.run import RunContext


def steps_of(
    run: RunContext, origin: Origin, config: RunnableConfig, *, in_own_loop: bool, request: str = ""
) -> Steps:
    """The steps of a turn.

    Args:
        run: The run that the turn belongs to.
        origin: The turn's session, node, task and round.
        config: LangGraph's configuration of the node.
        in_own_loop: Whether the node runs in an event loop of its own, as it does for synchronous callers.
        request: An id that all tasks of a task graph's request share; empty for other nodes. Its node runs in
            another superstep, and so in another namespace, when it runs again after a task has failed.
    """
    if run.journal:
        from swarm_graph.checkpoints.tool_steps import JournalSteps  # runs without tools do not need it

        mask = partial(masked, secrets=run.keys)
        return JournalSteps(run.journal, origin.task, origin.iteration, is_own=run.is_own, mask=mask)
    if run.saver is None:
        return NoSteps()
    from swarm_graph.checkpoints.thread_steps import ThreadSteps  # runs without tools do not need it

    scope = request or str(config["configurable"].get("checkpoint_ns", ""))
    return ThreadSteps(run.saver, origin.session, scope, origin.task, in_own_loop=in_own_loop)


def recalled_steps_of(
    run: RunContext, origin: Origin, config: RunnableConfig, *, in_own_loop: bool, request: str = ""
) -> Steps:
    """The steps that hold what a turn has recalled from memory.

    A turn that runs again finds them: in a resume, in a fork, and when a caller replays from a checkpoint. A
    new request does not. For the arguments see `steps_of`.
    """
    if run.journal:
        from swarm_graph.checkpoints.tool_steps import JournalSteps

        return JournalSteps(
            run.journal, origin.task, origin.iteration, is_own=run.is_own, is_again=not run.is_new
        )
    if run.saver is None:
        return NoSteps()
    from swarm_graph.checkpoints.thread_steps import ThreadSteps

    # Inside another graph: the place of the node that this graph is there. It is the same when it runs again.
    outside = str(config["configurable"].get("checkpoint_ns", "")).rpartition("|")[0]
    return ThreadSteps(
        run.saver,
        origin.session,
        request or outside,
        f"{origin.task}.{origin.iteration}",
        in_own_loop=in_own_loop,
        is_again=not run.is_new or bool(request or outside),
    )
