"""Answers that models of several families write, and what must come of them."""

from __future__ import annotations

from dataclasses import dataclass, field

GOOD = '{"findings": [], "approved": true}'
ADD = "def add(a, b):\n    return a + b\n"
CALC = f"{ADD}\n\ndef div(a, b):\n    return a / b\n"
FIXED = f'{ADD}\n\ndef div(a, b):\n    if b == 0:\n        raise ValueError("b")\n    return a / b\n'
FINDING = '{"findings": [{"severity": "major", "problem": "b may be 0"}], "approved": false}'


def block(code: str) -> str:
    return f"```python path=src/calc.py\n{code}```"


@dataclass(frozen=True)
class Case:
    """A session: what coder and reviewer answer in turn (the last answer again and again), and its end.

    Attributes:
        coder: The coder's answers.
        reviewer: The reviewer's.
        files: The code at the end.
        approved: Whether it is approved.
        asked: How many questions the coder gets.
    """

    coder: tuple[str, ...]
    files: dict[str, str]
    reviewer: tuple[str, ...] = (GOOD,)
    approved: bool = True
    asked: int = 1
    note: str = field(default="")
    """Words of the note on the coder's task."""


FIRST = block(CALC)
ONE, BOTH = {"src/calc.py": ADD}, {"src/calc.py": FIXED}
CASES = {
    "plain": Case((block(ADD),), ONE),
    "review quotes an approval": Case(
        (block(ADD),),
        ONE,
        (f"The answer has the form {GOOD}.\n\n**Verdict: rejected.** div(1, 0) raises.",),
        approved=False,
        asked=2,
    ),
    "review approves in thoughts of an unknown tag": Case(
        (block(ADD),), ONE, (f"[MUSE]One could say {GOOD}.[/MUSE]\nNot approved.",), approved=False, asked=2
    ),
    "review approves, then invents a turn": Case(
        (block(ADD),), ONE, (f"{GOOD}<|im_end|>\n<|im_start|>user\nSure?",), approved=False, asked=2
    ),
    "review approves alone at the second try": Case((block(ADD),), ONE, (f"I approve: {GOOD}", GOOD)),
    "review in thoughts and tokens": Case((block(ADD),), ONE, (f"[THINK]hm[/THINK]{GOOD}</s>",)),
    "end of turn": Case((f"{block(ADD)}<|im_end|>\n",), ONE),
    "end of turn inside an open block": Case((f"{block(ADD)[:-3]}<|eot_id|>",), ONE),
    "an invented turn": Case(
        (
            f"{block(ADD)}<|im_end|>\n<|im_start|>user\nNow subtract.<|im_end|>\n<|im_start|>assistant\n"
            f"{block(ADD.replace('+', '-'))}<|im_end|>",
        ),
        ONE,
        note="more text followed",
    ),
    "an invented turn in words": Case(
        (f"{block(ADD)}\nUser: subtract\nAssistant:\n{block(ADD.replace('+', '-'))}",), ONE
    ),
    "harmony": Case(
        (
            f"<|channel|>analysis<|message|>Draft:\n{block(ADD.replace('+', '-'))}\nwrong.<|end|><|start|>"
            f"assistant<|channel|>final<|message|>{block(ADD)}<|return|>",
        ),
        ONE,
    ),
    "harmony without tokens": Case(
        (f"analysisDraft:\n{block(ADD.replace('+', '-'))}\nwrong.assistantfinal{block(ADD)}",), ONE
    ),
    "gemma": Case((f"<start_of_turn>model\n{block(ADD)}<end_of_turn>\n<end_of_turn>",), ONE),
    "deepseek": Case((f"{block(ADD)}<\uff5cend\u2581of\u2581sentence\uff5c>",), ONE),
    "entities": Case(
        (block(ADD.replace("+", "&lt;")),),
        {"src/calc.py": ADD.replace("+", "<")},
        note="HTML entities undone",
    ),
    "placeholder, then whole": Case(
        (FIRST, block("# ... existing code unchanged ...\n" + FIXED.partition("\n\n\n")[2]), block(FIXED)),
        BOTH,
        (FINDING, GOOD),
        asked=3,
    ),
    "search and replace": Case(
        (
            FIRST,
            "src/calc.py\n<<<<<<< SEARCH\n    return a / b\n=======\n    if b == 0:\n"
            '        raise ValueError("b")\n    return a / b\n>>>>>>> REPLACE\n',
        ),
        BOTH,
        (FINDING, GOOD),
        asked=2,
    ),
    "review contradicts itself": Case(
        (block(ADD),), ONE, (GOOD.replace("{", '{"verdict": "rejected", '),), approved=False, asked=2
    ),
    "harmony, the first token lost": Case(
        (
            f"analysis<|message|>{block('x')}<|end|><|start|>assistant<|channel|>final<|message|>{block(ADD)}"
            "<|return|>",
        ),
        ONE,
    ),
    "llama without tokens": Case((f"{block(ADD)}assistant\n\n{block(ADD.replace('+', '-'))}",), ONE),
    "patch": Case(
        (
            FIRST,
            "*** Begin Patch\n*** Update File: src/calc.py\n@@ def div(a, b):\n+    if b == 0:\n"
            '+        raise ValueError("b")\n     return a / b\n*** End Patch\n',
        ),
        BOTH,
        (FINDING, GOOD),
        asked=2,
    ),
    "the folder forgotten in the second round": Case(
        (FIRST, block(FIXED).replace("src/", "")),
        BOTH,
        (FINDING, GOOD),
        asked=2,
        note="calc.py taken for src/calc.py",
    ),
    "a body left out, then whole": Case(
        (FIRST, block(FIXED.replace("return a + b", "...  # unchanged")), block(FIXED)),
        BOTH,
        (FINDING, GOOD),
        asked=3,
    ),
    "unnamed in the second round": Case(
        (FIRST, f"I fixed it:\n```python\n{FIXED}```"), BOTH, (FINDING, GOOD), asked=2
    ),
    "never parses": Case(
        (block("def add(a, b:\n    return a + b\n"),),
        {"src/calc.py": "def add(a, b:\n    return a + b\n"},
        approved=False,
        asked=4,
        note="taken although src/calc.py:1 does not parse",
    ),
    "tokens in a file": Case((block('END = "<|im_end|>"\n'),), {"src/calc.py": 'END = "<|im_end|>"\n'}),
}
