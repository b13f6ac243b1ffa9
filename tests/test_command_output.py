"""Names of tests in the output of commands of other languages."""

import pytest

from swarm_graph.sandbox.command_output import results_in

GO = (
    '{"Action": "run", "Package": "a/b", "Test": "TestOne"}\n'
    '{"Action": "output", "Package": "a/b", "Test": "TestOne", "Output": "--- FAIL"}\n'
    '{"Action": "fail", "Package": "a/b", "Test": "TestOne"}\n'
    '{"Action": "pass", "Package": "a/b", "Test": "TestTwo/part"}\n'
    '{"Action": "fail", "Package": "a/b"}\n{"Action"\n'
)
OUTPUTS: dict[str, tuple[str, dict[str, str]]] = {
    "cargo": (
        "running 3 tests\ntest a::one ... ok\ntest a::two ... FAILED\ntest b ... ignored\n\n"
        "test result: FAILED. 1 passed; 1 failed\n",
        {"a::one": "passed", "a::two": "failed", "b": "skipped"},
    ),
    "TAP": (
        "1..3\nok 1 - one\nnot ok 2 - two words\nok 3 - three # SKIP no disk\n",
        {"one": "passed", "two words": "failed", "three": "skipped"},
    ),
    "go": (GO, {"a/b.TestOne": "failed", "a/b.TestTwo/part": "passed"}),
    "ctest": (
        "1/2 Test #1: one ........   Passed    0.00 sec\n2/2 Test #2: two ........***Failed    0.01 sec\n",
        {"one": "passed", "two": "failed"},
    ),
    "jest": (
        " FAIL  src/a.test.js\n  sums\n    ✓ adds (3 ms)\n    ✕ carries the one\n    ○ skipped later\n",
        {"adds": "passed", "carries the one": "failed", "skipped later": "skipped"},
    ),
    "node": ("✔ adds (1.5ms)\n✖ fails (0.7ms)\n✖ failing tests:\n", {"adds": "passed", "fails": "failed"}),
    "pytest": (
        "FAILED tests/test_a.py::test_x - assert 1 == 2\nERROR tests/test_b.py::test_y\n",
        {"tests/test_a.py::test_x": "failed", "tests/test_b.py::test_y": "failed"},
    ),
    "unittest": (
        "test_a (tests.test_x.A) ... ok\nFAIL: test_b (tests.test_x.A)\n",
        {"test_a (tests.test_x.A)": "passed", "test_b (tests.test_x.A)": "failed"},
    ),
    "GoogleTest": (
        "[       OK ] Sum.Adds (0 ms)\n[  FAILED  ] Sum.Carries (0 ms)\n",
        {"Sum.Adds": "passed", "Sum.Carries": "failed"},
    ),
    "one of two lines says failed": ("test a ... FAILED\ntest a ... ok\n", {"a": "failed"}),
    "none": ("all is well\nok then\n", {}),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_names_and_results(name: str) -> None:
    output, results = OUTPUTS[name]
    assert results_in(output) == results


def test_a_long_line_takes_no_long_time() -> None:
    assert results_in("ok 1 " + " " * 100_000 + "#\n" + "test " + "a" * 100_000) == {}
