"""Sessions of every kind in one folder, for the tests of the page and for its pictures.

python tests/gallery.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import warm
from recorded_experiments import ab_plan, record
from repositories import make_repository
from support import Crew, config, write_config

from swarm_graph.checkpoints.experiments import Experiments
from swarm_graph.checkpoints.saver import open_checkpointer
from swarm_graph.state import DATA_DIR, DATABASE
from swarm_graph.web.addresses import encoded
from swarm_graph.workflows.build import build_graph


def session_address(session: str, rest: str = "") -> str:
    """The address of a session's page."""
    return f"/sessions/{encoded(session)}{rest}"


APPROVED, OTHER, PAUSED, TASKS, CHANGE, CHOSEN = "queue", "stack", "paused", "tasks", "change", "chosen"
"""The ids of the sessions."""
SCRIPT = '<script>window.ran=1</script><img src="x" onerror="window.ran=1">'
"""What a model, a user or a file may say; `window.ran` must stay unset."""
HOSTILE = f"a/../b?c#d%2e {SCRIPT}'\"{{{{7*7}}}}"
"""The id of a session that another program has begun: LangGraph allows any text."""
NAME = "<img src=x onerror=window.ran=1>.md"
"""The name of a file."""
ODD_PATH = "a &lt; b's %2e#x.html"
"""The path of a file that a model names."""
LONG = "W" * 500
"""A word that fits in no window."""
REQUEST = "Create a FIFO queue with a timeout"
GUIDE = "# The guide of queues\n\nA queue of ours holds at most 84 items, and it says so.\n"
PAGES = {
    "login": "/login",
    "sessions": "/",
    "new": "/new",
    "session-approved": session_address(APPROVED),
    "session-paused": session_address(PAUSED),
    "session-tasks": session_address(TASKS),
    "session-change": session_address(CHANGE),
    "session-candidates": session_address(CHOSEN),
    "session-hostile": session_address(HOSTILE),
    "file": session_address(APPROVED, "/files/project/src/fifo_queue.py"),
    "calls": session_address(APPROVED, "/parts/calls"),
    "decisions": "/decisions",
    "compare": f"/compare?session={APPROVED}&session={OTHER}",
    "memory": "/memory",
    "memory-search": "/memory?q=queue",
    "experiments": "/experiments",
    "experiment-eval": "/experiments/eval-1",
    "experiment-hostile": "/experiments/eval-2",
    "experiment-ab": "/experiments/ab-1",
    "experiment-ab-running": "/experiments/ab-2",
    "doctor": "/doctor",
    "problem": session_address("nothing"),
}
"""The address of each page, by a name for its picture."""


def fill(folder: Path) -> None:
    """Run the sessions; a second call in a folder that is full does nothing.

    Raises:
        RuntimeError: A session ends otherwise than it should.
    """
    if (folder / DATA_DIR / DATABASE).exists():
        return
    (folder / "guide.md").write_text(GUIDE, encoding="utf-8")
    (folder / "tasks.json").write_text(json.dumps({"tasks": tasks()}), encoding="utf-8")
    make_repository(
        folder / "shop", {"shop.py": "def price(count):\n    return count * 3\n", "README.md": "# Shop\n"}
    )
    (folder / "with-pauses").mkdir()
    pausing = write_config(folder / "with-pauses", workflow={"pause_before": ["coder"], "max_iterations": 1})
    run(folder, "memory", "add", "guide.md")
    run(folder, "run", REQUEST, "--simulate", "--workflow", "full", "--session", APPROVED)
    (folder / NAME).write_text(f"{SCRIPT} {LONG}\n", encoding="utf-8")
    run(folder, "run", "Create a LIFO stack", "--simulate", "--session", OTHER, "--input", NAME)
    run(folder, "run", REQUEST, "--session", PAUSED, "--config", pausing, code=3)
    run(folder, "run", "--simulate", "--tasks", "tasks.json", "--session", TASKS)
    run(folder, "run", "Add a discount", "--simulate", "--repo", "shop", "--session", CHANGE)
    (folder / "with-candidates").mkdir()
    several = write_config(folder / "with-candidates", workflow={"candidates": 3})
    run(folder, "run", REQUEST, "--workflow", "single", "--session", CHOSEN, "--config", several)
    run_hostile(folder / DATA_DIR / DATABASE)
    keep_experiments(folder / DATA_DIR / DATABASE)


def run(folder: Path, *arguments: str | Path, code: int = 0) -> None:
    """Run the program in the folder."""
    done = warm.run(*arguments, cwd=folder, text=True)
    if done.returncode != code:
        raise RuntimeError(f"{arguments} ended with {done.returncode}: {done.stderr}")


def tasks() -> list[dict[str, Any]]:
    """A task graph: a plan, thirty procedures, and a summary of them."""
    names = [f"SOP-{number:03}" for number in range(1, 31)]
    plan: dict[str, Any] = {
        "task_id": "plan",
        "assigned_role": "architect",
        "description": "List what is to be written.",
    }
    work: list[dict[str, Any]] = [
        {
            "task_id": name,
            "assigned_role": "documenter",
            "description": f"Write procedure {name} of the reactor.",
            "dependencies": ["plan"],
        }
        for name in names
    ]
    end: dict[str, Any] = {
        "task_id": "summary",
        "assigned_role": "documenter",
        "description": "Sum up.",
        "dependencies": names,
    }
    return [plan, *work, end]


def run_hostile(database: Path) -> None:
    """Run a session in which everything that others say is a script, or a word that does not end."""
    finding = {
        "severity": "major",
        "location": f"src/a.py:1 {SCRIPT}",
        "problem": f"{SCRIPT} {LONG}",
        "suggestion": f"{SCRIPT}\n```\n</pre></code>{SCRIPT}\n```",
    }
    answers = {
        "clarifier": json.dumps(
            {"requirements": [SCRIPT, LONG], "assumptions": [SCRIPT], "open_questions": [SCRIPT]}
        ),
        "architect": f"# {SCRIPT}\n\n[{SCRIPT}](javascript:window.ran=1)\n\n{LONG}",
        "coder": f'```python path=src/a.py\nx = """{SCRIPT}"""\n{LONG} = {{round}}\n```\n'
        f"```html path=src/{ODD_PATH}\n{SCRIPT}\n```",
        "reviewer": json.dumps({"findings": [finding], "approved": False}),
        "documenter": f"# {SCRIPT}\n\n{LONG}",
    }
    models = {"single_model": {"model": f"simulated {SCRIPT}", "api_type": "simulated"}}
    with open_checkpointer(database) as saver:
        graph = build_graph(
            "standard", config=config(model_config=models, workflow={"max_iterations": 2}), checkpointer=saver
        )
        request = f"{SCRIPT} {LONG}\n\n```python\nprint('</script>')\n```"
        graph.invoke(
            {"request": request}, {"configurable": {"thread_id": HOSTILE}}, context=Crew(answers).context
        )


def keep_experiments(database: Path) -> None:
    """Record evaluations and A/B tests: ordinary ones, and one with many arms and hostile texts."""
    arms, cases = ["single", "single:candidates=4", "full"], [f"case-{number}" for number in range(12)]
    sides, others = ["a.json", "b.json"], [f"{SCRIPT} {number} {LONG[:80]}" for number in range(6)]
    with open_checkpointer(database) as saver:
        kept = Experiments(saver.database)
        record(kept, "eval-1", "eval", arms=arms, cases=cases, judged=36, reason="1 of 3 hidden tests failed")
        kept.end("eval-1", "every trial is judged")
        record(
            kept, "eval-2", "eval", arms=others, cases=[LONG, SCRIPT], judged=20, reason=f"{SCRIPT} {LONG}"
        )
        for name, texts in (("ab-1", {"differs": f"{SCRIPT} {LONG}", "source": SCRIPT}), ("ab-2", {})):
            record(
                kept, name, "ab", arms=sides, cases=cases, judged=16, plan=ab_plan(sides, 12, **texts),
                reason=f"{SCRIPT} {LONG}",
            )  # fmt: skip
        kept.end("ab-1", f"{SCRIPT} is better")


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
