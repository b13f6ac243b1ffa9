"""The model servers of `servers/` and the processes of `chaos/` for every test."""

pytest_plugins = ["servers.fixtures", "chaos.fixtures"]
