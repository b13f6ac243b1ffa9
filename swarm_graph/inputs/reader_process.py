"""The process that reads one document: a broken or hostile file can exhaust this process and no other.

`read_document.py` starts it with a line of JSON and the file on stdin, and reads one JSON document from its
stdout. It gets no environment, so no program is found in it, and it can write no file.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from swarm_graph.inputs.document import Unreadable
from swarm_graph.inputs.limits import Limits
from swarm_graph.inputs.readers import read_into
from swarm_graph.inputs.text_writer import TextWriter


def main() -> None:
    """Read the document on stdin, and answer."""
    given = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**given["limits"])
    _limit(limits)
    json.dump(_answer(sys.stdin.buffer.read(), given["name"], limits), sys.stdout)


def _answer(data: bytes, name: str, limits: Limits) -> dict[str, Any]:
    writer = TextWriter(limits)
    try:
        kind = read_into(writer, data, name)
    except Unreadable as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": limits.too_much_memory}
    except RecursionError:
        return {"error": "is nested too deep to be read"}
    except Exception as error:  # a bug of a parser that the file met; the file is named with it
        return {"error": f"cannot be read ({type(error).__name__}: {str(error)[:100]}); save it again"}
    return {"kind": kind, "text": writer.text, "notes": [*writer.notes], "marks": writer.marks}


def _limit(limits: Limits) -> None:
    """Bound memory and CPU time where the system can (on Windows it cannot); no file, no core dump."""
    try:
        import resource
    except ImportError:
        return
    memory = limits.max_memory_mb * 1_000_000
    seconds = limits.max_cpu_seconds
    wanted = {
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_CORE: (0, 0),
    }
    for what, values in wanted.items():
        try:
            resource.setrlimit(what, values)
        except (ValueError, OSError):  # a lower limit is set already, or macOS refuses one of memory
            continue
