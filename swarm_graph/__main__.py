"""`python -m swarm_graph`, and the program `swarm-graph`: Ctrl-C is heard also while it still loads."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line."""
    try:
        from swarm_graph.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("swarm-graph: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
