"""What two configurations differ in: settings, prompts by their content, roles and workflows of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path
from textwrap import fill
from typing import Any

from swarm_graph.config import SwarmConfig
from swarm_graph.errors import ConfigError
from swarm_graph.names import is_yaml
from swarm_graph.prompts import template
from swarm_graph.reports.comparison_view import SettingRow, setting_values, shown_value
from swarm_graph.text import text_table

WIDTH = 80
NOT_SET = "not set"
"""The value of a setting that a side leaves to its default."""
BY_CONTENT = ("prompts_dir", "code_dir", "roles", "workflows")
"""Settings that name files. What counts is what the files say."""


@dataclass(frozen=True)
class ConfigDifference:
    """What the sides of an A/B test differ in. No value of a secret is in it.

    Attributes:
        settings: The settings that differ, with both values.
        files: The prompts and the files of own roles and workflows that differ in their content.
        workflows: The workflows of the two sides.
    """

    settings: list[SettingRow]
    files: list[str]
    workflows: tuple[str, str]

    @property
    def is_empty(self) -> bool:
        """Whether nothing differs but seeds and the places of equal files."""
        a, b = self.workflows
        return a == b and not self.files and all(row.path.endswith(".seed") for row in self.settings)

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Each difference with its values for A and B."""
        a, b = self.workflows
        workflow = [("workflow", a, b)] if a != b else []
        settings = [(path, first, other) for path, (first, other) in self.settings]
        return [*workflow, *settings, *((name, "differs", "") for name in self.files)]

    def text(self, heads: tuple[str, str] = ("A", "B")) -> str:
        """The differences as a table; one line if there are none."""
        if not self.rows:
            return "Nothing differs between the two configurations.\n"
        table = text_table(("setting or file", *heads), self.rows)
        if max(map(len, table.splitlines())) <= WIDTH:
            return table
        width = max(map(len, heads))
        return "".join(map("{}\n".format, chain(*(_stacked(row, heads, width) for row in self.rows))))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        settings = [{"setting": row.path, "a": row.values[0], "b": row.values[1]} for row in self.settings]
        return {"settings": settings, "files": self.files, "workflows": list(self.workflows)}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ConfigDifference:
        """The difference that `to_dict` has written."""
        rows = [SettingRow(one["setting"], [one["a"], one["b"]]) for one in data["settings"]]
        return cls(rows, list(data["files"]), (data["workflows"][0], data["workflows"][1]))


def difference(a: SwarmConfig, b: SwarmConfig, workflows: tuple[str, str]) -> ConfigDifference:
    """What two configurations differ in.

    Raises:
        ConfigError: A prompt or a file that they name cannot be read, or one process cannot run both.
    """
    _check_modules(a, b)
    hashes, others = file_hashes(a), file_hashes(b)
    names = sorted({*hashes, *others})
    files = [name for name in names if hashes.get(name) != others.get(name)]
    return ConfigDifference(_settings(a, b), [*files, *_differing_objects(a, b)], workflows)


def _settings(a: SwarmConfig, b: SwarmConfig) -> list[SettingRow]:
    """The settings that differ; a setting that only one side has differs from none."""
    columns = [_given(setting_values(config.redacted())) for config in (a, b)]
    rows = []
    for path in sorted({*columns[0], *columns[1]}):
        one, other = (column.get(path) for column in columns)
        if one != other and path.partition(".")[0] not in BY_CONTENT:
            rows.append(SettingRow(path, [_shown(one), _shown(other)]))
    return rows


def _shown(value: Any) -> str:
    return NOT_SET if value is None else shown_value(value)


def _stacked(row: tuple[str, str, str], heads: tuple[str, str], width: int) -> Iterator[str]:
    """The lines of a difference whose values are too long to stand side by side."""
    name, *values = row
    yield name
    for head, value in zip(heads, values, strict=True):
        if value:
            begin, indent = f"  {head.ljust(width)}  ", " " * (width + 4)
            yield fill(value, WIDTH, initial_indent=begin, subsequent_indent=indent, break_on_hyphens=False)


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say something: an empty list says as much as none."""
    return {path: value for path, value in values.items() if value not in (None, [])}


def file_hashes(config: SwarmConfig) -> dict[str, str]:
    """The sha256 of each prompt that a configuration replaces, and of its own roles and workflows, by name.

    Raises:
        ConfigError: One of them cannot be read.
    """
    try:
        return dict(_hashes(config))
    except OSError as error:
        raise ConfigError(f"cannot read '{error.filename}': {error.strerror}") from error


def _hashes(config: SwarmConfig) -> Iterator[tuple[str, str]]:
    if config.prompts_dir:
        root, ours = template.find_folder(config.prompts_dir), Path(template.__file__).parent
        for name in [f"{name}.md" for name in template.replaced(root)]:
            text = (root / name).read_bytes()
            if not (ours / name).is_file() or (ours / name).read_bytes() != text:
                yield f"prompt {name}", sha256(text).hexdigest()
        if (pack := root / template.PACK_FILE).is_file():
            yield template.PACK_FILE, sha256(pack.read_bytes()).hexdigest()
    for name, reference, file in _own_code(config):
        text = file.read_bytes() if file else b""
        attribute = "" if is_yaml(reference) else reference
        yield name, sha256(attribute.encode() + b"\0" + text).hexdigest()


def _own_code(config: SwarmConfig) -> Iterator[tuple[str, str, Path | None]]:
    """Each own role and workflow that a text names: its name here, the text, and its file if there is one."""
    for noun, references in (("role", config.roles), ("workflow", config.workflows)):
        for name, reference in references.items():
            if isinstance(reference, str):
                yield f"{noun} {name}", reference, _file(reference, config.code_dir)


def _file(reference: str, code_dir: str | None) -> Path | None:
    if is_yaml(reference):
        return Path(reference)
    module = reference.partition(":")[0].replace(".", "/")
    folder = Path(code_dir or "")
    files = (folder / f"{module}.py", folder / module / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _differing_objects(a: SwarmConfig, b: SwarmConfig) -> list[str]:
    """The own roles and workflows that a program gave as objects, and that differ."""
    return [
        f"{noun} {name}"
        for noun, ones, others in (("role", a.roles, b.roles), ("workflow", a.workflows, b.workflows))
        for name in dict.fromkeys([*ones, *others])
        if ones.get(name) is not others.get(name)
        and not (isinstance(ones.get(name), str) or isinstance(others.get(name), str))
    ]


def _check_modules(a: SwarmConfig, b: SwarmConfig) -> None:
    """Raises ConfigError if both name a module of one name in two folders: Python would load only one."""
    files = {one: file for _, one, file in _own_code(a) if file and not is_yaml(one)}
    for _, one, file in _own_code(b):
        module = one.partition(":")[0]
        same = [other for other in files if other.partition(":")[0] == module]
        if file and same and files[same[0]].resolve() != file.resolve():
            raise ConfigError(
                f"both configurations name a module '{module}', '{files[same[0]]}' and '{file}', and one "
                "process loads only one of them; rename one"
            )
