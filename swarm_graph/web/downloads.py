"""Texts as downloads: a browser keeps them as files, and never shows them as pages of this site."""

from __future__ import annotations

import re
from urllib.parse import quote

from starlette.responses import Response

MAX_NAME_CHARACTERS = 100


def download(text: str, name: str, kind: str = "text/plain") -> Response:
    """A text as a file.

    Args:
        text: The text.
        name: A name for the file, of any characters; of a path the last part.
        kind: Its media type.
    """
    name = name.rpartition("/")[2][-MAX_NAME_CHARACTERS:].strip(". ") or "file"
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    disposition = (
        f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
    )
    body = text.encode(errors="replace")
    return Response(body, media_type=kind, headers={"content-disposition": disposition})
