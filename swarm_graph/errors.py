"""What can go wrong, each with the exit code that the command line ends with.

    SwarmError                 1
    ├── ConfigError            2   a config file, environment variable or prompt that cannot be used
    ├── InputError             2   a request, argument, file or session id that cannot be used
    │   ├── UnfinishedSession  2   a new request for a session that has not ended: resume it
    │   └── SessionInUse       2   a session that another process or thread works on
    ├── OverBudget             1   the session has used what `limits` allow; it can be resumed with more
    ├── Stopped              130   a person stopped the run; it can be resumed
    ├── StorageError           1   the database or the output folder
    ├── SandboxError           1   no sandbox for the generated tests
    └── ModelError             1   a model server's call that failed for good
        └── AnswerError        1   the server answered, but the answer could not be used

Every message is one line: what is wrong with the value quoted, what was expected, what to do.
"""


class SwarmError(Exception):
    """Everything that swarm_graph raises on purpose."""

    exit_code = 1


class ConfigError(SwarmError):
    """A setting, a prompt file or an environment variable that cannot be used."""

    exit_code = 2


class InputError(SwarmError):
    """A request, an argument, a file or a session id that cannot be used."""

    exit_code = 2


class UnfinishedSession(InputError):
    """A new request for a session that has not ended; nothing was changed."""


class SessionInUse(InputError):
    """Somebody else works on the session; nothing was changed."""


class OverBudget(SwarmError):
    """The session has used up what `limits` allow; what had been finished is kept."""


class Stopped(SwarmError):
    """The run was stopped; what had been finished is kept and the session can be resumed."""

    exit_code = 130


class StorageError(SwarmError):
    """The database or the output folder cannot be read or written."""


class SandboxError(SwarmError):
    """The generated tests cannot be run away from the machine; finished work is kept."""


class ModelError(SwarmError):
    """A call to a model that failed for good; finished work is kept and the session can be resumed.

    `status`: the server's HTTP status, if it gave one, and `detail` its words. `retry_after`: the seconds
    that it asks to wait. `loading`: it is still loading the model.
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
    ) -> None:
        super().__init__(message)
        self.node, self.retryable, self.status, self.detail = node, retryable, status, detail
        self.retry_after, self.loading = retry_after, loading


class AnswerError(ModelError):
    """The model answered, and its answer could not be used (cut off, empty, no file in it)."""


class UnreadableAnswer(Exception):
    """An answer that cannot be used as it is; the text says why, for the model that gave it."""


class TruncatedAnswer(UnreadableAnswer):
    """An answer that reached its token limit before its end."""
