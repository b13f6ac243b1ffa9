"""The model servers of `servers/` for every test."""

pytest_plugins = ["servers.fixtures"]
