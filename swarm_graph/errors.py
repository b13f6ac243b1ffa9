"""The errors that swarm_graph raises, each with the exit code of the command line.

    SwarmError                 1
    ├── ConfigError            2   a config file, environment variable or prompt cannot be used
    │   └── NoModel            2   no model is configured
    ├── InputError             2   a request, argument, file or session id cannot be used
    │   ├── UnfinishedSession  2   a new request for a session that has not ended: resume it
    │   ├── SessionInUse       2   another process or thread is running the session
    │   └── UntrustedSession   2   a received session would use the sender's settings
    ├── OverBudget             1   the session has reached its `limits`; resume it with higher ones
    ├── Stopped              130   a person stopped the run; resume it
    ├── StorageError           1   the database or the output folder cannot be read or written
    ├── SandboxError           1   there is no sandbox for the generated tests
    ├── RepositoryError        1   git failed, or a change does not fit the repository
    └── ModelError             1   a call to a model server failed for good
        ├── SlotLost           1   another machine may have the slot of the call; it is asked again
        ├── AnswerError        1   the server answered, but the answer cannot be used
        ├── EmbeddingError     1   the embedding model cannot be asked, or has no vector for a text
        │   └── VectorStoreError 1 the vector store cannot be used
        └── ToolError          1   an MCP server, or a tool that a role is given, cannot be used

Every message is one line: what is wrong, with the value quoted; what was expected; what to do.

The two exceptions at the end of this file are internal: the code that reads an answer raises them, its caller
catches them. No user sees them, so they are not part of the tree.

A notebook shows a SwarmError as its one line. `%xmode Verbose` (any mode but `Context`, the default) and then
`%tb` show the whole traceback. Other exceptions, also those raised from a SwarmError, are shown in full.
"""

import sys
from collections.abc import Sequence
from itertools import takewhile
from traceback import walk_tb
from types import FrameType
from typing import Any


class SwarmError(RuntimeError):
    """Base class of the errors that swarm_graph raises on purpose.

    It is a RuntimeError because LangGraph's server hides the messages of other exceptions from its clients.

    Attributes:
        exit_code: The exit code of the command line after this error.
    """

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """The lines that IPython shows: the message, or the traceback if the user has chosen a mode of it.

        IPython calls this method of an exception that has it. If the caller's code was handling an exception
        of its own, the whole is shown: nothing else would show that exception.
        """
        formatter = _traceback_formatter()
        if formatter and (formatter.mode != "Context" or _hides_foreign(self)):
            lines: list[str] = formatter.structured_traceback(type(self), self, self.__traceback__)
            return lines
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", [])]


def _traceback_formatter() -> Any:
    """What shows tracebacks in the running IPython; None outside of IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "InteractiveTB", None)


def _hides_foreign(error: BaseException) -> bool:
    """Whether the caller's code was handling an exception of its own when it called us."""
    callers = {*takewhile(_is_outside, (frame for frame, _ in walk_tb(error.__traceback__)))}
    context = error.__context__
    while context is not None:
        handled_in = context.__traceback__ and context.__traceback__.tb_frame
        if handled_in in callers and not isinstance(context, SwarmError):
            return True
        context = context.__context__
    return False


def _is_outside(frame: FrameType) -> bool:
    return not str(frame.f_globals.get("__name__")).startswith("swarm_graph")


class ConfigError(SwarmError):
    """A setting, a prompt file or an environment variable cannot be used."""

    exit_code = 2


NO_MODEL_CURE = (
    "name one with --url URL --model NAME or --model FILE.gguf, or let `swarm-graph init` write a config "
    "(`swarm-graph init URL` for a server elsewhere)"
)
"""What a person at the command line does without a model; `NoModel` itself says it for Python."""


KIND_WITH_REPOSITORY = "a session on a repository has the kind 'change'"
NEEDS_REPOSITORY = (
    "a session of the kind 'change' needs a repository; name it with --repo DIR (in Python repo=DIR, in the "
    "input of a graph the key `repo`, in a configuration `repo`)"
)
"""The error of a session of the kind `change` that names no repository."""


class NoModel(ConfigError):
    """No model is configured; nothing is guessed."""

    def __init__(self) -> None:
        super().__init__(
            'no model is configured; give load_config a dict with "url" and "model", or let '
            "`swarm-graph init` write a config for your servers"
        )


class InputError(SwarmError):
    """A request, an argument, a file or a session id cannot be used."""

    exit_code = 2


class UnfinishedSession(InputError):
    """A new request for a session that has not ended; nothing was changed."""


class SessionInUse(InputError):
    """Another process or thread is running the session; nothing was changed."""


class UntrustedSession(InputError):
    """A session that the user did not begin would use the settings that it recorded; nothing was changed.

    Attributes:
        settings: What it would use, a line each.
    """

    def __init__(self, message: str, settings: list[str]) -> None:
        super().__init__(message)
        self.settings = settings


class OverBudget(SwarmError):
    """The session has reached its `limits`; finished work is kept."""


class Stopped(SwarmError):
    """The run was stopped; finished work is kept and the session can be resumed."""

    exit_code = 130


class StorageError(SwarmError):
    """The database or the output folder cannot be read or written."""


class SandboxError(SwarmError):
    """The generated tests cannot be run in isolation; finished work is kept."""


class RepositoryError(SwarmError):
    """Git failed on the repository of a session, or a change does not fit it; finished work is kept."""


class ModelError(SwarmError):
    """A call to a model failed for good; finished work is kept and the session can be resumed.

    Attributes:
        node: The node that made the call; empty when it is not known.
        retryable: The same call may succeed later.
        status: The HTTP status of the server's response; None when there was no response.
        detail: The server's own error message.
        retry_after: Seconds to wait before the next call, as the server asked; 0 when it did not ask.
        loading: The server is still loading the model.
        outage: No question would be answered now: the server is not reached, or refuses the key or the model.
    """

    def __init__(
        self,
        message: str,
        *,
        node: str = "",
        retryable: bool = False,
        status: int | None = None,
        detail: str = "",
        retry_after: float = 0.0,
        loading: bool = False,
        outage: bool = False,
    ) -> None:
        super().__init__(message)
        self.node, self.retryable, self.status, self.detail = node, retryable, status, detail
        self.retry_after, self.loading, self.outage = retry_after, loading, outage


class SlotLost(ModelError):
    """The call was cancelled, because another machine may have its slot by now; it is asked again."""


class AnswerError(ModelError):
    """The model's answer cannot be used: it is cut off, empty or unreadable, or holds no file.

    Attributes:
        keys: The journal's keys of the answers that cannot be used; empty for all answers of the task.
    """

    def __init__(self, message: str, *, node: str = "", keys: Sequence[str] = ()) -> None:
        super().__init__(message, node=node)
        self.keys = tuple(keys)


class EmbeddingError(ModelError):
    """The embedding model cannot be asked, or has no vector for a text; search by text goes on.

    Attributes:
        vectors: Of the texts that it was asked about, in their order; None for a text without one. Empty when
            none was made.
        of_texts: The model answers, but not for some of the texts.
    """

    def __init__(
        self,
        message: str,
        *,
        vectors: Sequence[list[float] | None] = (),
        of_texts: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.vectors, self.of_texts = list(vectors), of_texts


class VectorStoreError(EmbeddingError):
    """The vector store cannot be used; search by text goes on, and the vectors are kept in the database."""


class ToolError(ModelError):
    """An MCP server, or a tool that a role is given, cannot be used; finished work is kept."""


class UnreadableAnswer(Exception):
    """Internal: an answer cannot be used as it is; a role's turn catches this and asks the model once more.

    The message is part of that repair question: it tells the model what is wrong with its answer. When the
    second answer cannot be used either, the turn raises AnswerError.

    Attributes:
        quoted: Lines of a file that the repair question also shows; empty for none.
    """

    def __init__(self, message: str, quoted: str = "") -> None:
        super().__init__(message)
        self.quoted = quoted

    @property
    def question(self) -> str:
        """The message, followed by the quoted lines."""
        return f"{self}\n\n{self.quoted}" if self.quoted else str(self)


class TruncatedAnswer(UnreadableAnswer):
    """Internal: an answer was cut off at its token limit.

    Attributes:
        by_server: The limit was the server's, such as a full context, and not the one of the request.
    """

    def __init__(self, message: str, *, by_server: bool = False) -> None:
        super().__init__(message)
        self.by_server = by_server
