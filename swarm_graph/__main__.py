"""`python -m swarm_graph`, and the program `swarm-graph`: Ctrl-C is heard also while it still loads."""

import gc
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line."""
    try:
        from swarm_graph.cli.lean_start import start_lean

        start_lean()
        from swarm_graph.cli.main import main

        main()
    except KeyboardInterrupt:
        sys.stderr.write("swarm-graph: interrupted\n")
        sys.exit(130)
    finally:
        gc.freeze()  # else the interpreter's last collections walk through every loaded module: 0.4 s


if __name__ == "__main__":
    main()
