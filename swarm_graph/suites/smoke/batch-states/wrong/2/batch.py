"""The states of a batch reactor."""


class IllegalCommand(RuntimeError):
    """A command that is not possible in the present state."""


class Batch:
    """A batch reactor."""

    states = {"start": ["idle"], "filled": ["filling"], "hold": ["filling", "running"], "resume": ["held"],
              "finish": ["running"], "drained": ["draining"], "reset": ["stopped"],
              "stop": ["idle", "filling", "running", "held", "draining", "stopped"]}
    targets = {"start": "filling", "filled": "running", "hold": "held", "finish": "draining",
               "drained": "idle", "stop": "stopped", "reset": "idle"}

    def __init__(self):
        self.state, self.held_in = "idle", None
        self._history = ["idle"]
        self.count = 0

    @property
    def history(self):
        """All states."""
        return tuple(self._history)

    @property
    def allowed(self):
        """The commands that are possible now."""
        return sorted(name for name in self.states if self.state in self.states[name])

    def command(self, name):
        """Carry out a command and return the new state."""
        if self.state not in self.states.get(name, []):
            raise IllegalCommand(f"{name} is not allowed in {self.state}")
        if name == "hold":
            self.held_in = self.state
        self.state = self.held_in if name == "resume" else self.targets[name]
        if self.state == "idle":
            self.count += 1
        self._history.append(self.state)
        return self.state
