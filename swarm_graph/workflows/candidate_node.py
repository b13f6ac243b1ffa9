"""The nodes `coder_1`, `coder_2`, …: candidates of the coder, side by side, and the node before them."""

from __future__ import annotations

from typing import Any, cast

from langchain_core.runnables import Runnable, RunnableConfig

from swarm_graph.errors import ConfigError, ModelError, NoModel
from swarm_graph.roles.bindings import Bindings
from swarm_graph.roles.emitter import Origin
from swarm_graph.roles.imported_names import imported_names
from swarm_graph.roles.role import Role
from swarm_graph.roles.role_node import RoleNode
from swarm_graph.roles.run import current_run, node_emitter
from swarm_graph.roles.turn import supplied_model
from swarm_graph.settings import AgentParameters, Candidate
from swarm_graph.state import AgentRole, CandidateRecord, SwarmState, candidate_name

NAMES_HEADING = "## Names that the tests import"
NAMES_TEXT = (
    "The code is run with tests that were written before it. They import it by these statements, so each "
    "module lies in `src/` and defines these names:"
)


class BeginCandidates(Runnable[SwarmState, dict[str, Any]]):
    """The node `coder` where there are several candidates: edges lead to it, and from it to all of them."""

    name = str(AgentRole.CODER)

    def invoke(self, input: SwarmState, config: RunnableConfig | None = None, **_: Any) -> dict[str, Any]:
        node_emitter(Origin("", self.name, iteration=input.get("iteration", 0) + 1))("node_ended")
        return {}

    async def ainvoke(
        self, input: SwarmState, config: RunnableConfig | None = None, **_: Any
    ) -> dict[str, Any]:
        return self.invoke(input)


class CandidateNode(RoleNode[Any]):
    """One candidate: the coder's turn, whose answer becomes a record and not yet the code of the session.

    A candidate without an answer is out. Only if all of them fail, the choice sends the graph here again, to
    raise the failure: so a resume asks all of them again (see `ChooseNode`).

    Attributes:
        number: Its number, from 1.
        candidate: Its model and temperature.
    """

    def __init__(
        self, bindings: Bindings, role: Role[Any], number: int, candidate: Candidate, task_id: str
    ) -> None:
        super().__init__(bindings, role, candidate_name(number), task_id)
        self.number, self.candidate, self.model = number, candidate, candidate.model
        self.parameters = candidate_parameters(self.parameters, number, candidate)

    async def _take_turn(
        self, state: SwarmState, config: RunnableConfig, *, in_own_loop: bool = False
    ) -> dict[str, Any]:
        run = current_run(self.bindings.config)
        if run.failure:
            raise ModelError(str(run.failure), node=self.name)
        iteration = state.get("iteration", 0) + 1
        supplied = supplied_model(run.overrides, str(self.role.role)) is not None
        record = CandidateRecord(
            number=self.number,
            node=self.name,
            iteration=iteration,
            model="" if supplied else run.config.model_for(self.role.role, self.model).label,
            temperature=self.parameters.temperature,
            code={},
            error="",
            results={},
            group=0,
            chosen=False,
            reason="",
        )
        try:
            update = await super()._take_turn(
                with_imported_names(state, self.bindings), config, in_own_loop=in_own_loop
            )
        except ModelError as error:
            return {"candidates": [CandidateRecord({**record, "error": str(error)})]}
        kept = {key: value for key, value in update.items() if key not in ("code", "changed", "iteration")}
        return {**kept, "candidates": [CandidateRecord({**record, "code": update["code"]})]}


def candidate_parameters(parameters: AgentParameters, number: int, candidate: Candidate) -> AgentParameters:
    """The sampling parameters of a candidate: with one seed for all of them, all would answer the same."""
    update: dict[str, Any] = {}
    if candidate.temperature is not None:
        update["temperature"] = candidate.temperature
    if parameters.seed is not None:
        update["seed"] = parameters.seed + number - 1
    return parameters.model_copy(update=update)


def with_imported_names(state: SwarmState, bindings: Bindings) -> SwarmState:
    """The state as candidates see it: below the design stand the names that the tests import."""
    packages = bindings.config.execution.allowed_packages or ()
    if not (statements := imported_names(state.get("tests", {}), packages)):
        return state
    names = "\n".join([NAMES_HEADING, NAMES_TEXT, *(f"- `{statement}`" for statement in statements)])
    design = "\n\n".join(filter(None, [state.get("design", ""), names]))
    return cast("SwarmState", {**state, "design": design})


def check_candidates(bindings: Bindings) -> None:
    """Raises ConfigError where several candidates cannot be made, or two of them could not differ."""
    config = bindings.config
    if config.workflow.kind != "code":
        raise ConfigError(
            f"workflow.candidates: tests choose among several candidates, and a session of the kind "
            f"'{config.workflow.kind}' has no tests that are written before; leave workflow.candidates out"
        )
    seen: dict[tuple[str, float | None], int] = {}
    for number, candidate in enumerate(config.workflow.coders, 1):
        parameters = candidate_parameters(bindings.roles.parameters("coder"), number, candidate)
        try:
            entry = config.model_for("coder", candidate.model)
        except NoModel:  # the first call says so
            continue
        except ConfigError as error:
            raise ConfigError(f"workflow.candidates: {error}") from error
        if parameters.temperature or entry.api_type == "simulated":
            continue
        if earlier := seen.get((entry.label, parameters.temperature)):
            raise ConfigError(
                f"workflow.candidates: candidates {earlier} and {number} ask {entry.label} at temperature 0, "
                "which answers the same; give them a temperature, or a model, of their own"
            )
        seen[entry.label, parameters.temperature] = number
