"""Memory: search it, list it, correct and forget what is in it, and decide about what sessions offer."""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from swarm_graph.checkpoints.swarm_saver import SwarmSaver
from swarm_graph.config import SwarmConfig
from swarm_graph.errors import InputError
from swarm_graph.memory.experience import KINDS, Offer
from swarm_graph.memory.store import SwarmStore
from swarm_graph.memory.swarm_memory import SwarmMemory
from swarm_graph.reports.memory_facts import facts, is_edited
from swarm_graph.sessions.trust import foreign_sessions
from swarm_graph.text import cut, format_count
from swarm_graph.web.pages import change, page, query_number, show
from swarm_graph.web.rows import rows_from
from swarm_graph.web.site import NotFound, Site, site_of

FOUND = 20
"""Passages that a search shows."""
MAX_QUESTION = 2000
_changing = threading.Lock()
"""Two users of the page do not decide about the same memory at once."""


def digest_of(shown: Any) -> str:
    """A digest of what a person has seen, so that a decision is never about something else."""
    return sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()


# --- look ----------------------------------------------------------------------------------------


def _opened(saver: SwarmSaver | None, site: Site) -> SwarmMemory | None:
    """The memory in the database; None if nothing was ever put there. It makes no tables."""
    if saver is None or not saver.database.has_memory:
        return None
    config = _config(site)
    return SwarmMemory(SwarmStore.on(saver.database, config.memory, config.proxy), documents=config.documents)


def _config(site: Site) -> SwarmConfig:
    """The default configuration: it names the embedding model."""
    return next(iter(site.settings.configs.values()))


def _needed(saver: SwarmSaver | None, site: Site) -> SwarmMemory:
    if (memory := _opened(saver, site)) is None:
        raise NotFound("nothing is remembered yet; `swarm-graph memory add FILES` adds documents")
    return memory


def _common(site: Site, memory: SwarmMemory | None) -> dict[str, Any]:
    """What every page of memory shows."""
    config = _config(site)
    return {
        "exists": memory is not None,
        "data_dir": str(site.settings.data_dir),
        "by_meaning": bool(config.memory and config.memory.embeddings),
        "waiting": len(memory.offers()) if memory else 0,
    }


def _overview(saver: SwarmSaver | None, site: Site, query: Mapping[str, str]) -> dict[str, Any]:
    memory = _opened(saver, site)
    collection, kind = query.get("collection", ""), query.get("kind", "")
    question = query.get("q", "").strip()
    values = _common(site, memory) | {
        "question": question,
        "collection": collection,
        "kind": kind,
        "kinds": KINDS,
        "found": None,
        "problem": "",
    }
    if memory is None:
        return values
    if kind not in ("", *KINDS):
        raise NotFound(f"no kind of experience {cut(kind, 80)!r}; known: {', '.join(KINDS)}")
    everything = memory.documents()
    collections = sorted({document.collection for document in everything})
    if collection not in ("", *collections):
        raise NotFound(f"no collection {cut(collection, 80)!r}; known: {', '.join(collections) or 'none'}")
    if len(question) > MAX_QUESTION:
        raise InputError(f"the question is longer than {MAX_QUESTION:,} characters; shorten it")
    documents = [one for one in everything if collection in ("", one.collection)]
    experiences = [one for one in memory.experiences() if kind in ("", one.collection)]
    values |= {
        "collections": collections,
        "documents": rows_from(documents, query_number(query, "documents")),
        "experiences": rows_from(experiences, query_number(query, "experiences")),
        "others": memory.other_namespaces(),
        "address": partial(_address, {"collection": collection, "kind": kind}),
    }
    if question:
        found = memory.search(question, FOUND, collection or None)
        values |= {"found": found, "problem": memory.problem}
    return values


def _address(query: Mapping[str, str], **changes: Any) -> str:
    """The address of the list with other parameters."""
    kept = {name: value for name, value in {**query, **changes}.items() if value}
    return f"/memory?{urlencode(kept)}" if kept else "/memory"


async def show_memory(request: Request) -> Response:
    """The list of documents and experiences, and what a question finds."""
    return await show(request, "memory.html", _overview, site_of(request), request.query_params)


def _one(saver: SwarmSaver | None, site: Site, query: Mapping[str, str]) -> dict[str, Any]:
    memory = _needed(saver, site)
    found = _found(memory, query.get("id", ""))
    passages = rows_from(found.passages, query_number(query, "passages"))
    return _common(site, memory) | {
        "memory": found,
        "facts": facts(found),
        "passages": passages,
        "address": partial(_item_address, found.id),
        "edited": {one.id for one in passages.rows if is_edited(found, one)},
        "digest": digest_of([one.text for one in found.passages]),
        "passage_count": format_count(len(found.passages), "passage"),
    }


def _item_address(id: str, **changes: Any) -> str:
    return f"/memory/item?{urlencode({'id': id, **changes})}"


def _found(memory: SwarmMemory, name: str) -> Any:
    try:
        return memory.show(name)
    except InputError as error:
        raise NotFound(str(error)) from error


async def show_item(request: Request) -> Response:
    """A document, a passage or an experience as a whole, with its source."""
    return await show(request, "memory_item.html", _one, site_of(request), request.query_params)


def _offers(saver: SwarmSaver | None, site: Site) -> dict[str, Any]:
    memory = _opened(saver, site)
    offers = memory.offers() if memory else []
    foreign = foreign_sessions(saver.catalogue, {one.session for one in offers}) if saver else set()
    return _common(site, memory) | {
        "offers": [(offer, digest_of(offer), offer.session in foreign) for offer in offers],
    }


async def show_offers(request: Request) -> Response:
    """What sessions offer for memory."""
    return await show(request, "memory_offers.html", _offers, site_of(request))


# --- change --------------------------------------------------------------------------------------


async def _change(
    request: Request, do: Callable[[SwarmMemory, FormData], None], form: FormData, after: str
) -> Response:
    """Change memory in a thread, then show it."""
    site = site_of(request)

    def changed(saver: SwarmSaver | None) -> None:
        with _changing:
            do(_needed(saver, site), form)

    await site.read(changed)
    return RedirectResponse(after, 303)


def _text(form: FormData, name: str) -> str:
    """A text of a form; browsers end lines with CR LF."""
    value = form.get(name)
    return value.replace("\r\n", "\n") if isinstance(value, str) else ""


def _check_seen(form: FormData, shown: Any, what: str) -> None:
    """Raises InputError if a form is about something else than what is there now."""
    if not hmac.compare_digest(_text(form, "digest").encode(), digest_of(shown).encode()):
        raise InputError(f"{what} has changed since the page was loaded; load it again and look at it")


def _edit(memory: SwarmMemory, form: FormData) -> None:
    found = _found(memory, _text(form, "id"))
    _check_seen(form, [one.text for one in found.passages], "the text")
    memory.edit(found.id, _text(form, "text"))


def _forget(memory: SwarmMemory, form: FormData) -> None:
    found = _found(memory, _text(form, "id"))
    _check_seen(form, [one.text for one in found.passages], "the text")
    memory.forget(found.id)


def _forget_collection(memory: SwarmMemory, form: FormData) -> None:
    memory.forget(collection=_text(form, "collection"))


def _decide(memory: SwarmMemory, form: FormData) -> None:
    name, decision = _text(form, "id"), _text(form, "decision")
    offer: Offer | None = next((one for one in memory.offers() if one.id == name), None)
    if offer is None:
        raise InputError(f"no offer {cut(name, 80)!r} waits any more: somebody has decided about it")
    _check_seen(form, offer, "the offer")
    if decision not in ("accepted", "rejected"):
        raise InputError(f"no decision {cut(decision, 80)!r}; known: accepted, rejected")
    (memory.accept if decision == "accepted" else memory.reject)(offer.id)


async def edit(request: Request, form: FormData) -> Response:
    """Correct the text of a passage or an experience."""
    return await _change(request, _edit, form, _item_address(_text(form, "id"), note="corrected"))


async def forget(request: Request, form: FormData) -> Response:
    """Delete a memory."""
    return await _change(request, _forget, form, "/memory?note=forgotten")


async def forget_collection(request: Request, form: FormData) -> Response:
    """Delete all documents of a collection."""
    return await _change(request, _forget_collection, form, "/memory?note=forgotten")


async def decide(request: Request, form: FormData) -> Response:
    """Accept or reject an offer, once."""
    note = "remembered" if form.get("decision") == "accepted" else "dropped"
    return await _change(request, _decide, form, f"/memory/offers?note={note}")


routes = [
    page("/memory", show_memory),
    page("/memory/item", show_item),
    page("/memory/offers", show_offers),
    change("/memory/edit", edit),
    change("/memory/forget", forget),
    change("/memory/forget-collection", forget_collection),
    change("/memory/decide", decide),
]
