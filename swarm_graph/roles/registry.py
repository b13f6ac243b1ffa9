"""The roles of one configuration: the nine, and the user's own, which no other configuration shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from typing_extensions import TypedDict

from swarm_graph.config import SwarmConfig
from swarm_graph.config_source import one_line, unknown_name
from swarm_graph.errors import ConfigError
from swarm_graph.names import is_yaml
from swarm_graph.prompts import template
from swarm_graph.prompts.template import Prompt
from swarm_graph.roles.answered_document import DOCUMENT_FILE, Documents
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.own_code import load_object
from swarm_graph.roles.role import SHARED, SHARED_OF_CHANGE, Form, Role
from swarm_graph.roles.views import REPOSITORY_VIEWS, views
from swarm_graph.roles.yaml_role import read_role
from swarm_graph.settings import AgentParameters
from swarm_graph.state import CHANGE, AgentRole, ChangeState, SwarmState

PACKAGES = "packages"
"""The hole for the packages that generated code may import."""
NO_TEXTS: Mapping[str, str] = {}
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TEXT_FILE = re.compile(r"[a-z][a-z0-9_-]{0,60}\.(?:txt|md)")
_FILE = re.compile(r"\S+\.md")
_NAME = re.compile(r"[\w-]*")
_WRITTEN_FORMS = {str: str, Files: dict[str, str], Documents: dict[str, str]}
"""The type of a state key by the form of the answer in it; typed answers are objects."""


@cache
def _built_in(name: str) -> Role[Any]:
    """One of the nine: the role `coder` is the object `coder` in `nodes/coder.py`."""
    role: Role[Any] = getattr(import_module(f"swarm_graph.nodes.{name}"), name)
    return role


def role_source(name: str) -> str:
    """The name under which a session records the YAML file of a role among its prompts."""
    return f"role {name}"


class Roles:
    """The roles of one configuration, by name, each as it is for what the sessions make.

    The user's own are loaded when they are first needed.
    """

    def __init__(self, config: SwarmConfig | None = None, texts: Mapping[str, str] = NO_TEXTS) -> None:
        """Load nothing yet.

        Args:
            config: The configuration; None: the nine only.
            texts: Texts of prompts, and of YAML files by `role_source`, in place of those of the files.
        """
        self._config, self._texts = config or SwarmConfig(), texts
        self._folder, self._kind = self._config.prompts_dir, self._config.workflow.kind

    @cached_property
    def own(self) -> dict[str, Role[Any]]:
        """The user's own roles by name.

        Raises:
            ConfigError: One of them cannot be loaded, or does not fit to the others.
        """
        roles = {name: self._load(name, reference) for name, reference in self._config.roles.items()}
        self._check_keys(roles)
        return roles

    def load(self) -> None:
        """Load and check the user's own roles and their prompts.

        Raises:
            ConfigError: One of them cannot be used.
        """
        for name, role in self.own.items():
            self.prompt(name, *role.reads, template.MEMORY_HOLE)

    def find(self, name: str) -> Role[Any] | None:
        """The role of a name; None if this configuration has none, as for a session from elsewhere."""
        return _built_in(name).for_kind(self._kind) if name in list(AgentRole) else self.own.get(name)

    def named(self, name: str) -> Role[Any]:
        """The role of a name. Raises ConfigError if this configuration has none."""
        if role := self.find(name):
            return role
        raise ConfigError(f"{unknown_name('role', name, self._config.role_names)}; add it to `roles`")

    def all(self) -> list[Role[Any]]:
        """Every role: the nine in the order of AgentRole, then the user's own."""
        return [*(self.named(name) for name in AgentRole), *self.own.values()]

    def placed(self, role: Role[Any] | str) -> Role[Any]:
        """A role that a workflow places, as it is here. Raises ConfigError if there is none of its name."""
        known = self.named(role if isinstance(role, str) else str(role.role))
        return known if isinstance(role, str) or role.role in self.own else role.for_kind(self._kind)

    def parameters(self, name: str, own: Mapping[str, Any] | None = None) -> AgentParameters:
        """The sampling parameters of a role, below those of a task (`own`)."""
        role = self.named(name)
        given = {"temperature": role.temperature, "max_tokens": role.max_tokens}
        defaults = {key: value for key, value in given.items() if value is not None}
        return self._config.parameters_for(name, own, defaults)

    # --- the state -------------------------------------------------------------------------------

    def keys_of(self, form: Form) -> tuple[str, ...]:
        """The keys of the state that roles write in a form, in the order of SwarmState."""
        order = list(SwarmState.__annotations__)
        keys = dict.fromkeys(role.writes for role in self.all() if role.form == form)
        return tuple(sorted(keys, key=lambda key: order.index(key) if key in order else len(order)))

    def is_data(self, key: str) -> bool:
        """Whether a key of the state holds a typed answer."""
        return any(role.writes == key and role.form == "data" for role in self.own.values())

    @cached_property
    def state(self) -> type[SwarmState]:
        """The state with the keys of all own roles: each of them may read what another one writes."""
        hints = get_type_hints(self._base, include_extras=True)
        for role in self.own.values():
            hints |= get_type_hints(role.state, include_extras=True)
        return _state_type("OwnState", hints)

    def state_of(self, role: Role[Any]) -> type[SwarmState]:
        """The state that a role's node sees."""
        if role.role in self.own or (self.own and role.state in (SwarmState, ChangeState)):
            return self.state
        return role.state

    @property
    def _base(self) -> type[SwarmState]:
        """The state of a session without own roles."""
        return ChangeState if self._kind == CHANGE else SwarmState

    # --- prompts ---------------------------------------------------------------------------------

    def prompt(self, name: str, *holes: str) -> Prompt:
        """A prompt by its name or file: of the user's folder, of an own role, or ours.

        Args:
            name: The name or file.
            holes: The holes that it may have.

        Raises:
            ConfigError: It cannot be used.
        """
        return template.load(
            name, self._folder, holes=holes, texts=self._texts, kind=self._kind, own=self._own_prompts
        )

    @cached_property
    def preamble(self) -> str:
        """What every role's prompt begins with. Raises ConfigError if it cannot be used."""
        return self.prompt(template.PREAMBLE).instructions.substitute()

    def prompt_text(self, name: str) -> str:
        """The text of what `prompt` finds. Raises ConfigError if there is no such prompt."""
        return template.read(name, self._folder, self._texts, self._kind, self._own_prompts)

    def prompt_file(self, name: str) -> str:
        """The file of a prompt, for messages."""
        return self.files.get(name) or template.file_name(name, self._folder, self._kind)

    @cached_property
    def _own_prompts(self) -> dict[str, str]:
        """The texts of the own roles' prompts by name, and of their YAML files by `role_source`."""
        texts = {role_source(name): text for name, text in self._yaml_texts.items()}
        for name, role in self.own.items():
            text = self._prompt(name, role)
            texts[name] = text if "\n---\n" in text else f"{text.rstrip()}\n---\n{_data_of(role)}\n"
        return texts

    def shown_schema(self, role: Role[Any]) -> dict[str, Any] | None:
        """The JSON schema that an own role's prompt shows; the prompts of the nine say it in words."""
        return role.schema if role.role in self.own else None

    @property
    def files(self) -> dict[str, str]:
        """The YAML files of roles, by `role_source`."""
        references = self._config.roles.items()
        return {
            role_source(name): path for name, path in references if isinstance(path, str) and is_yaml(path)
        }

    def _prompt(self, name: str, role: Role[Any]) -> str:
        """The text of a role's own prompt; empty if it is a file of `prompts_dir` with the role's name."""
        if _FILE.fullmatch(role.prompt):
            return template.read(str(Path(self._config.code_dir or "", role.prompt).absolute()))
        if not _NAME.fullmatch(role.prompt):
            return role.prompt
        if role.prompt not in ("", name):
            return template.read(role.prompt, self._folder, kind=self._kind)
        if name in self._texts or (self._folder and name in template.names(self._folder, self._kind)):
            return ""
        raise ConfigError(
            f"the role '{name}' has no prompt; write it in the role, or as {name}.md in prompts_dir"
        )

    # --- loading ---------------------------------------------------------------------------------

    @cached_property
    def _yaml_texts(self) -> dict[str, str]:
        return {
            name: self._texts.get(source) or _read(f"roles.{name}", path)
            for source, path in self.files.items()
            for name in [source.removeprefix("role ")]
        }

    def _load(self, name: str, reference: Any) -> Role[Any]:
        setting = f"roles.{name}"
        if role_source(name) in self.files:
            role = read_role(setting, Path(reference), self._yaml_texts[name])
        else:
            role = load_object(setting, reference, self._config.code_dir)
            if not isinstance(role, Role):
                raise ConfigError(f"{setting}: expected a Role, found {_kind(role)}")
        return _named(setting, name, role.for_kind(self._kind))

    def _check_keys(self, roles: Mapping[str, Role[Any]]) -> None:
        """Raises ConfigError when a role reads what nobody writes, or writes what another one needs."""
        written: dict[str, Form] = {}
        for name, role in roles.items():
            if role.writes in self._config.role_names:
                raise ConfigError(
                    f"roles.{name}: it writes '{role.writes}', which is the name of a role; use another key"
                )
            if written.setdefault(role.writes, role.form) != role.form:
                raise ConfigError(
                    f"roles.{name}: it writes '{role.writes}' as {role.form}, "
                    f"and another role as {written[role.writes]}"
                )
        known = [*get_type_hints(self._base), *views(self._kind), PACKAGES]
        for name, role in roles.items():
            if self._kind == CHANGE and role.writes in (*REPOSITORY_VIEWS, *_ONLY_OF_CHANGES):
                raise ConfigError(
                    f"roles.{name}: writes: '{role.writes}' has a meaning of its own in sessions on a "
                    "repository; use another key"
                )
            keys = dict.fromkeys([*known, *get_type_hints(role.state), *written])
            if unknown := [key for key in role.reads if key not in keys]:
                raise ConfigError(f"roles.{name}: reads: {unknown_name('key', unknown[0], keys)}")


def _read(setting: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{setting}: cannot read '{path}': {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{setting}: '{path}' is not UTF-8 text") from error


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"a {type(value).__name__}"


def _named(setting: str, name: str, role: Role[Any]) -> Role[Any]:
    """A role of the user's under its name, with a type, a key and a title of its own where it gives none."""
    writes = role.writes or f"{name}_result"
    if not _KEY.fullmatch(writes):
        raise ConfigError(
            one_line(
                f"{setting}: writes: '{writes}'; expected lower-case letters, digits and _, as in estimate"
            )
        )
    state = role.state
    if writes not in get_type_hints(state):
        kind = (
            _WRITTEN_FORMS.get(role.answer, dict[str, Any])
            if isinstance(role.answer, type)
            else dict[str, Any]
        )
        state = _extended(state, writes, kind)
    elif state is SwarmState:
        _check_shared_key(setting, writes, role)
    if role.text_file and not _TEXT_FILE.fullmatch(role.text_file):
        raise ConfigError(
            one_line(f"{setting}: text_file: '{role.text_file}'; expected a name such as {name}.txt")
        )
    taken = {"notes.md", DOCUMENT_FILE, *(one.text_file for one in map(_built_in, AgentRole))} - {""}
    if role.text_file in taken:
        raise ConfigError(f"{setting}: text_file: '{role.text_file}' is the file of another role")
    named = replace(
        role, role=name, writes=writes, state=state, task_type=role.task_type or name, verb=role.verb or name
    )
    title = role.notes_title or (
        "" if named.form in ("files", "reviews") else name.replace("_", " ").capitalize()
    )
    return replace(named, notes_title=title)


def _extended(state: type[SwarmState], key: str, kind: Any) -> type[SwarmState]:
    hints = {**get_type_hints(state, include_extras=True), key: kind}
    return _state_type("RoleState", hints)


def _state_type(name: str, hints: dict[str, Any]) -> type[SwarmState]:
    # Type checkers want a literal, but the keys are known only now.
    make: Any = TypedDict
    state: type[SwarmState] = make(name, hints, total=False)
    return state


def _check_shared_key(setting: str, key: str, role: Role[Any]) -> None:
    """Raises ConfigError for a key of SwarmState that no role writes, or not in this form."""
    writers = [one for one in map(_built_in, AgentRole) if one.writes == key]
    if not writers:
        raise ConfigError(f"{setting}: writes: no role may write '{key}'; use a key of its own")
    forms = {str: "text", Files: "files", Documents: "files"}
    own_form = forms.get(role.answer) if isinstance(role.answer, type) else "data"
    if role.update is None and own_form != writers[0].form:
        raise ConfigError(f"{setting}: writes: '{key}' holds {writers[0].form}; use a key of its own")


_ONLY_OF_CHANGES = tuple(key for key in ChangeState.__annotations__ if key not in SwarmState.__annotations__)
"""The keys of the state that only sessions on a repository have."""


def _data_of(role: Role[Any]) -> str:
    """The data of a prompt that has none: what the role reads, each between tags.

    What most roles read comes first, so that their prompts begin alike.
    """
    first = dict.fromkeys([*SHARED, *SHARED_OF_CHANGE])
    keys = [*(key for key in first if key in role.reads), *(key for key in role.reads if key not in first)]
    return "\n\n".join(f"<{key}>\n${key}\n</{key}>" for key in keys)
