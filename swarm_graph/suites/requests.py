"""The requests of cases: the files of a review in fences."""

from __future__ import annotations

from collections.abc import Mapping

from swarm_graph.text import longer_fence

LANGUAGES = {".py": "python", ".md": "markdown", ".json": "json", ".csv": "csv", ".txt": "text"}


def review_request(question: str, files: Mapping[str, str]) -> str:
    """The request of a review: the question, then each file as a fenced block with its path.

    Args:
        question: What the review is about.
        files: Path to text.
    """
    return "\n\n".join([question.strip(), *(fenced(path, text) for path, text in files.items())]) + "\n"


def fenced(path: str, text: str) -> str:
    """A file as a fenced block with its path."""
    fence = longer_fence(text)
    suffix = path[path.rfind(".") :] if "." in path else ""
    language = LANGUAGES.get(suffix, "text")
    return f"{fence}{language} path={path}\n{text.rstrip()}\n{fence}"
