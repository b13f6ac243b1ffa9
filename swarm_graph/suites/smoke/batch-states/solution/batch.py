"""The states of a batch reactor."""

_TRANSITIONS = {
    "start": {"idle": "filling"},
    "filled": {"filling": "running"},
    "hold": {"filling": "held", "running": "held"},
    "resume": {"held": ""},
    "finish": {"running": "draining"},
    "drained": {"draining": "idle"},
    "stop": {state: "stopped" for state in ("idle", "filling", "running", "held", "draining")},
    "reset": {"stopped": "idle"},
}


class IllegalCommand(RuntimeError):
    """A command that is not possible in the present state."""


class Batch:
    """A batch reactor."""

    def __init__(self) -> None:
        self._history = ["idle"]
        self.count = 0

    @property
    def state(self) -> str:
        """The present state."""
        return self._history[-1]

    @property
    def history(self) -> list[str]:
        """All states, from the first to the present one."""
        return list(self._history)

    @property
    def allowed(self) -> list[str]:
        """The commands that are possible now."""
        return sorted(name for name, states in _TRANSITIONS.items() if self.state in states)

    def command(self, name: str) -> str:
        """Carry out a command and return the new state.

        Raises:
            IllegalCommand: It is not possible now.
        """
        state = self.state
        if name not in _TRANSITIONS or state not in _TRANSITIONS[name]:
            raise IllegalCommand(f"{name!r} is not possible while {state}")
        # In `held`, the state before the present one is where the batch was held.
        target = _TRANSITIONS[name][state] or self._history[-2]
        if name == "drained":
            self.count += 1
        self._history.append(target)
        return target
