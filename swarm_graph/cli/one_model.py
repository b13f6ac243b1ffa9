"""The models that options name: one for all roles (--url, --model), or one of a role's several (--choose)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from swarm_graph.cli.console import say
from swarm_graph.cli.options import SessionOptions
from swarm_graph.errors import NO_MODEL_CURE, InputError

if TYPE_CHECKING:
    from swarm_graph.config import SwarmConfig
    from swarm_graph.models.find_model import GivenModel

NO_MODEL = f"no model is configured; {NO_MODEL_CURE}, or use --simulate"


def given_model(options: SessionOptions) -> GivenModel:
    """What the options say of the model; false when they say nothing."""
    from swarm_graph.models.find_model import GivenModel

    return GivenModel(options.url, options.model, options.api_type, options.api_key_env)


def with_given_model(config: SwarmConfig, options: SessionOptions) -> SwarmConfig:
    """The configuration with the model that the options name for all roles; one line on stderr says so.

    Args:
        config: The configuration; without such options it is returned as it is.
        options: The options of the command.

    Raises:
        InputError: The options do not go together.
        ConfigError: Its server does not answer, or does not have it, or there is a choice.
    """
    if not any((options.url, options.model, options.api_type, options.api_key_env)):
        return config
    import asyncio

    from swarm_graph.config import load_config
    from swarm_graph.models.find_model import find_model

    given = given_model(options)
    if options.simulate:
        raise InputError("--simulate asks no server; leave it out, or leave out --url and --model")
    found = asyncio.run(find_model(config, given))
    replaces = ", in place of the configured models" if config.entries else ""
    say(f"every role asks {found.text}{replaces}")
    return load_config(config, overrides=found.settings)


def with_given_choices(config: SwarmConfig, options: SessionOptions) -> SwarmConfig:
    """The configuration with the models that --choose names for roles that may have several.

    Raises:
        InputError: The option is no ROLE=ENTRY, or another one names the model of all roles.
        ConfigError: The role has no models to choose from, or not this one.
    """
    if not options.choose:
        return config
    if given_model(options):
        raise InputError("--choose picks one of a role's models, --url or --model names one for all roles")
    chosen: dict[str, str] = {}
    for text in options.choose:
        role, sign, entry = text.partition("=")
        if not (role and sign and entry):
            raise InputError(f"--choose {text!r}: expected ROLE=ENTRY, as in coder=qwen3")
        if chosen.setdefault(role, entry) != entry:
            raise InputError(f"--choose names two models for the role '{role}': {chosen[role]} and {entry}")
    return config.with_choices(chosen, dict.fromkeys(chosen, "as --choose says"))
