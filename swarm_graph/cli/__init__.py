"""The command line: click commands that parse options, call the rooms below and print."""
