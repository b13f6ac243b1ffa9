"""A role in a YAML file: data, no code. docs/own-roles.md explains the keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from swarm_graph.config_source import first_problem, one_line, unknown_name
from swarm_graph.errors import ConfigError, InputError
from swarm_graph.roles.file_blocks import Files
from swarm_graph.roles.json_schema import check_schema
from swarm_graph.roles.role import Role
from swarm_graph.settings import Integer, Number


class RoleFile(BaseModel):
    """The keys of a role's file."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = ""
    reads: list[str] = Field(["request"], min_length=1)
    writes: str = ""
    answer: Literal["text", "files"] | dict[str, Any] = "text"
    works_from: str = ""
    temperature: Number | None = Field(None, ge=0, le=2)
    max_tokens: Integer | None = Field(None, ge=1)
    title: str = ""
    text_file: str = ""

    @field_validator("answer")
    @classmethod
    def _check_answer(cls, answer: Any) -> Any:
        if isinstance(answer, dict):
            check_schema(answer)
        return answer


def read_role(setting: str, path: Path, text: str) -> Role[Any]:
    """The role in a YAML file.

    Args:
        setting: The dotted path of the setting that names the file, for messages.
        path: The file; a prompt that it names by a path is relative to its folder.
        text: Its text.

    Raises:
        ConfigError: It is not valid YAML, or a key is unknown or wrong.
    """
    from swarm_graph.yaml12 import parse_yaml

    try:
        data = parse_yaml(path, text)
    except InputError as error:
        raise ConfigError(f"{setting}: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{setting}: {path} holds no keys; expected prompt, reads, writes, …")
    for key in data:
        if key not in RoleFile.model_fields:
            raise ConfigError(
                one_line(f"{setting}: {path}: {unknown_name('key', str(key), RoleFile.model_fields)}")
            )
    try:
        file = RoleFile.model_validate(data)
    except ValidationError as error:
        keys, message = first_problem(error)
        raise ConfigError(one_line(f"{setting}: {path}: {'.'.join(keys)}: {message}")) from error
    return Role(
        "",
        reads=tuple(file.reads),
        writes=file.writes,
        answer=_answer(file.answer),
        prompt=_prompt(file.prompt, path.parent),
        works_from=file.works_from,
        temperature=file.temperature,
        max_tokens=file.max_tokens,
        notes_title=file.title,
        text_file=file.text_file,
    )


def _answer(answer: str | dict[str, Any]) -> Any:
    if isinstance(answer, dict):
        return answer
    return Files if answer == "files" else str


def _prompt(prompt: str, folder: Path) -> str:
    return str(folder / prompt) if re.fullmatch(r"\S+\.md", prompt) else prompt
