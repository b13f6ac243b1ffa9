"""The states of a batch reactor."""

_TRANSITIONS = {
    ("idle", "start"): "filling",
    ("filling", "filled"): "running",
    ("filling", "hold"): "held",
    ("running", "hold"): "held",
    ("held", "resume"): "running",
    ("running", "finish"): "draining",
    ("draining", "drained"): "idle",
    ("stopped", "reset"): "idle",
}


class IllegalCommand(RuntimeError):
    """A command that is not possible in the present state."""


class Batch:
    """A batch reactor."""

    def __init__(self):
        self.state = "idle"
        self.history = ["idle"]
        self.count = 0

    @property
    def allowed(self):
        """The commands that are possible now."""
        names = [command for state, command in _TRANSITIONS if state == self.state]
        return sorted([*names, *(["stop"] if self.state != "stopped" else [])])

    def command(self, name):
        """Carry out a command and return the new state."""
        if name not in self.allowed:
            raise IllegalCommand(f"{name} in {self.state}")
        if name == "drained":
            self.count += 1
        self.state = "stopped" if name == "stop" else _TRANSITIONS[self.state, name]
        self.history.append(self.state)
        return self.state
