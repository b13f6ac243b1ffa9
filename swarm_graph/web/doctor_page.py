"""The doctor: checks of a configuration with its servers, and of the session database, when a user asks.

The checks contact the configured servers, so a form asks for them; to look at the page contacts nobody.
"""

from __future__ import annotations

import asyncio
import shlex
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from swarm_graph.config import SwarmConfig
from swarm_graph.database_place import is_there
from swarm_graph.errors import SwarmError
from swarm_graph.setup.checks import Check, failed_check
from swarm_graph.setup.database_checks import examine_database
from swarm_graph.setup.doctor import examine
from swarm_graph.state import DATA_DIR, OUTPUT_DIR
from swarm_graph.text import cut
from swarm_graph.web.pages import change, page, respond
from swarm_graph.web.settings import PageSettings
from swarm_graph.web.site import NotFound, Site, site_of

OF_DATABASE = "database"
OF_CONFIG = "config"
DEFAULT_NAME = "the default configuration"
"""What the page calls a configuration without a file."""


def _subject(site: Site, name: str) -> str:
    """The name of a configuration. Raises NotFound for one that the operator has not named."""
    configs = site.settings.configs
    if name not in configs:
        known = ", ".join(one or DEFAULT_NAME for one in configs)
        raise NotFound(f"no configuration {cut(name, 80)!r}; known: {known}")
    return name


def _command(settings: PageSettings, *more: str) -> str:
    """The command that makes the same checks in a terminal."""
    words = ["swarm-graph", "doctor", *more]
    if str(settings.data_dir) != DATA_DIR:
        words += ["--data-dir", str(settings.data_dir)]
    if OF_DATABASE not in more[-1:] and str(settings.output_dir) != OUTPUT_DIR:
        words += ["--output", str(settings.output_dir)]
    return shlex.join(words)


async def show_doctor(request: Request) -> Response:
    """The last result of the checks, and the forms that run them."""
    site = site_of(request)
    settings, query = site.settings, request.query_params
    name = _subject(site, query.get("config", next(iter(settings.configs))))
    values: dict[str, Any] = {
        "configs": [(one, one or DEFAULT_NAME) for one in settings.configs],
        "chosen": name,
        "chosen_name": name or DEFAULT_NAME,
        "of_config": site.checkups.last(f"{OF_CONFIG} {name}"),
        "of_database": site.checkups.last(OF_DATABASE),
        "has_database": is_there(settings.place),
        "command": _command(settings, *(["--config", name] if name else [])),
        "database_command": _command(settings, "--database"),
    }
    return respond(request, "doctor.html", **values)


def _config_checks(config: SwarmConfig, settings: PageSettings) -> list[Check]:
    """The checks of a configuration, in an event loop of their own: some of them block."""
    try:
        return asyncio.run(examine(config, data_dir=settings.data_dir, output_dir=settings.output_dir))
    except SwarmError as error:
        return [failed_check("checks", str(error))]


async def check(request: Request, form: FormData) -> Response:
    """Run the checks of a configuration, or of the database."""
    site = site_of(request)
    settings, name = site.settings, str(form.get("config", ""))
    if form.get("what") == OF_DATABASE:
        await site.checkups.run(OF_DATABASE, lambda: examine_database(settings.place, settings.data_dir))
        return RedirectResponse("/doctor#database", 303)
    config = settings.configs[_subject(site, name)]
    await site.checkups.run(f"{OF_CONFIG} {name}", lambda: _config_checks(config, settings))
    return RedirectResponse(f"/doctor?{urlencode({'config': name})}", 303)


routes = [page("/doctor", show_doctor), change("/doctor", check)]
