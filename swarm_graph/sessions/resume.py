"""The configuration that a session is resumed with, decided in one place."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from swarm_graph.checkpoints.records import Session
from swarm_graph.config import SwarmConfig, changed_settings, config_path, load_config, settings_of_any
from swarm_graph.database_place import SETTING
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.roles.registry import Roles
from swarm_graph.sessions.trust import GROUPS, SERVERS, foreign_settings, refuse_foreign_settings
from swarm_graph.settings import RepositorySettings
from swarm_graph.shorthand import SHORTHAND
from swarm_graph.state import CHANGE
from swarm_graph.tool_settings import MEMORY_TOOL
from swarm_graph.tools.names import BUILT_IN_TOOLS, FIND
from swarm_graph.workflows.pauses import Pause

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from swarm_graph.checkpoints.steps import ToolRecord


class ResumeConfig(NamedTuple):
    """A configuration to resume with.

    Attributes:
        config: The configuration, with the graph settings that the session began with.
        origin: The file to record as its origin; empty when there is none.
        changed: The dotted paths of the settings that differ from those the session began with.
    """

    config: SwarmConfig
    origin: str
    changed: list[str]

    def without_memory(self) -> ResumeConfig:
        """The same, for a session that from now on neither reads nor writes memory."""
        changed = [path for path in self.changed if path.partition(".")[0] != "memory"]
        return self._replace(config=self.config.without_memory(), changed=changed)


def resume_config(
    session: Session,
    source: SwarmConfig | str | Path | None = None,
    *,
    trusted: bool,
    prompts_dir: str | None = None,
    simulate: bool = False,
    repo: RepositorySettings | None = None,
    uses: Collection[str] = GROUPS,
    own_models: Callable[[SwarmConfig], SwarmConfig] | None = None,
) -> ResumeConfig:
    """The configuration to resume a session with.

    Args:
        session: The session, as the catalogue has it.
        source: A configuration or its file. None: for a trusted session the file that it began with, as it is
            today, or if that is gone the configuration that was recorded. For any other session what was
            recorded if that is harmless (`settings_of_any`), else the user's own file (see `load_config`),
            which comes first if the session names it, as in a copied project.
        trusted: Whether the user began the session, or has trusted it.
        prompts_dir: A folder of prompts, or a pack, in place of the configured one.
        simulate: Whether every model is simulated.
        repo: The repository, in place of the recorded one.
        uses: The groups of settings that matter; others may differ in a session that is not trusted.
        own_models: Replaces the models of a configuration by those that the command line names.

    Raises:
        ConfigError: The file cannot be used.
        InputError: There is a repository, and the session makes something else.
        UntrustedSession: It is not trusted and recorded other settings, and no configuration is at hand.
    """
    if repo and session.kind != CHANGE:
        raise InputError(
            f"session '{session.session}' has the kind '{session.kind}' and works on no "
            "repository; leave it out"
        )
    found = _configured(
        session, source, trusted, prompts_dir, simulate, {*uses} - ({"repo"} if repo else set())
    )
    if not trusted:  # the shape of its graph is the session's, what it asks is the user's
        found = found._replace(config=found.config.without_candidate_models())
    if repo:
        changed = [path for path in found.changed if path.partition(".")[0] != "repo"]
        found = found._replace(config=found.config.model_copy(update={"repo": repo}), changed=changed)
    if own_models is None:
        return found
    changed = [path for path in found.changed if path.partition(".")[0] not in SERVERS]
    return found._replace(config=own_models(found.config), changed=changed)


def _configured(
    session: Session,
    source: SwarmConfig | str | Path | None,
    trusted: bool,
    prompts_dir: str | None,
    simulate: bool,
    uses: Collection[str],
) -> ResumeConfig:
    """See `resume_config`; with the models of the configuration."""
    given = prompts_dir, simulate
    if source is not None:
        return _for(session, source, config_path(source), *given)
    if trusted:
        began_with = Path(session.config_file)
        is_there = session.config_file and began_with.is_file()
        file = began_with if is_there else session.config
        found = _for(session, file, session.config_file, *given, recorded=_recorded_overrides(session))
        began_without_memory = session.config.get("memory", ...) is None  # with --no-memory
        return found.without_memory() if began_without_memory else found
    own = config_path(None)
    harmless = _for(session, settings_of_any(session.config), "", *given)
    is_harmless = not foreign_settings(session.config, harmless.config, uses or GROUPS)
    if is_harmless and not (own and own == session.config_file):
        return harmless
    if own or load_config(None).entries:
        return _for(session, None, own, *given)
    refuse_foreign_settings(session, harmless.config, uses)
    return harmless


def _recorded_overrides(session: Session) -> dict[str, Any]:
    """Recorded settings that override the file: the model that the command line named, and the repository."""
    return {key: session.config[key] for key in (*SHORTHAND, "repo") if session.config.get(key)}


def _for(
    session: Session,
    source: Any,
    origin: str,
    prompts_dir: str | None,
    simulate: bool,
    recorded: Mapping[str, Any] | None = None,
) -> ResumeConfig:
    """A configuration, with what the command line gives, in the graph that a session began with."""
    if isinstance(source, Mapping):  # a session is where it was found, whatever it says
        source = {key: value for key, value in source.items() if key != SETTING}
    config = load_config(source, overrides=recorded)
    if isinstance(source, Mapping):  # a run takes the recorded models itself: a later one may have others
        config = config.undecided()
    if prompts_dir:
        config = config.model_copy(update={"prompts_dir": prompts_dir})
    if simulate:
        config = config.simulated()
    config = config.with_graph_of(session.config)
    return ResumeConfig(config, origin, changed_settings(session.config, config.redacted()))


def missing_tools(
    calls: Iterable[ToolRecord], waiting: Iterable[Pause], given: Mapping[str, Sequence[BaseTool]]
) -> list[tuple[str, str]]:
    """The functions of a program that a session calls as tools, and that its roles do not have any more.

    Args:
        calls: The session's calls of tools.
        waiting: The pauses at which it waits for a person.
        given: The functions that the present program gives, by role.

    Returns:
        Pairs of role and tool.
    """
    has = {(role, tool.name) for role, tools in given.items() for tool in tools}
    called = [
        (call.role, call.tool, call.server)
        for call in calls
        if call.result is None or call.result.outcome != "unknown_tool"
    ]
    called += [
        (pause.role, pause.value["tool"], pause.value["server"]) for pause in waiting if pause.when == "tool"
    ]
    functions = {
        (role, tool): None
        for role, tool, server in called
        if not server and tool not in (*BUILT_IN_TOOLS, MEMORY_TOOL, FIND)
    }
    return [pair for pair in functions if pair not in has]


def has_recalled(session: Session) -> bool:
    """Whether the roles of a session recalled from memory when it was recorded; its state tells what."""
    memory = session.config.get("memory")
    return isinstance(memory, Mapping) and bool(memory.get("recall"))


def roles_to_read(session: Session, *, trusted: bool) -> Roles:
    """The roles to look at a session with: the nine only, where the user's own cannot be loaded any more."""
    try:
        roles = Roles(config_to_read(session, trusted=trusted))
        roles.all()
    except ConfigError:
        return Roles(SwarmConfig().with_kind(session.kind))
    return roles


def config_to_read(session: Session, *, trusted: bool) -> SwarmConfig:
    """The configuration to look at a session with, in the graph that it began with. Nothing runs with it.

    Raises:
        ConfigError: It cannot be used, as when a folder of prompts is gone.
    """
    if trusted:
        return _for(session, session.config, "", None, simulate=False).config
    return resume_config(session, trusted=False, uses=()).config
