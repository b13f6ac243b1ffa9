"""Inside a sandbox: run a snippet of Python in the copy of a project.

`inside_copy.py` starts it in the place of a reporter. What the snippet prints goes to the descriptor that the
host reads as stdout. Runs on any Python from 3.9 on, and imports nothing of swarm_graph.
"""

import linecache
import os
import sys
import traceback
import types

NAME = "<snippet>"


def main(log: int, folders: str, code: str) -> None:
    os.dup2(log, 1)
    os.close(log)
    sys.path[:0] = folders.split(os.pathsep)
    sys.argv[:] = [NAME]
    linecache.cache[NAME] = (len(code), None, code.splitlines(True), NAME)  # tracebacks show its lines
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(code, NAME, "exec"), vars(module))
    except Exception as error:
        own = error.__traceback__ and error.__traceback__.tb_next  # without the frame of this function
        traceback.print_exception(type(error), error, own)
        sys.exit(1)


main(int(sys.argv[1]), sys.argv[2], sys.argv[4])
