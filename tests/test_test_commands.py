"""Which command runs a repository's tests, and where its tests are."""

import pytest

from swarm_graph.repository.test_commands import find_test_command
from swarm_graph.repository.test_places import find_test_places

PYTEST = "python -m pytest"
FOUND: list[tuple[dict[str, str], str, str]] = [
    ({"pyproject.toml": "[tool.pytest.ini_options]\n", "Makefile": "test:\n"}, PYTEST, "pyproject.toml"),
    ({"pytest.ini": "", "setup.cfg": "[tool:pytest]\n"}, PYTEST, "pytest.ini"),
    ({"setup.cfg": "[tool:pytest]\n"}, PYTEST, "setup.cfg"),
    ({"tox.ini": "[pytest]\n"}, PYTEST, "tox.ini"),
    ({"tests/test_a.py": "TestCase", "tests/unit/conftest.py": ""}, PYTEST, "tests/unit/conftest.py"),
    ({"examples/conftest.py": "", "Cargo.toml": ""}, "cargo test --offline", "Cargo.toml"),
    ({"tests/test_a.py": "from unittest import mock\n\ndef test_a(): pass"}, PYTEST, "tests/test_a.py"),
    ({"tests/test_a.py": "import pytest\nfrom unittest import TestCase"}, PYTEST, "tests/test_a.py"),
    ({"tests/test_a.py": "import pytest"}, PYTEST, "tests/test_a.py"),
    ({"tests/test_a.py": "from unittest import TestCase", "tox.ini": "commands = pytest"}, PYTEST, "tox.ini"),
    (
        {"tests/test_a.py": "from unittest import TestCase"},
        "python -m unittest discover -s ./tests",
        "tests/test_a.py",
    ),
    (
        {"tests/__init__.py": "", "tests/test_a.py": "from unittest import TestCase"},
        "python -m unittest discover -s ./tests -t .",
        "tests/test_a.py",
    ),
    ({"test_a.py": "from unittest import TestCase"}, "python -m unittest discover", "test_a.py"),
    ({"manage.py": "import django"}, "python manage.py test", "manage.py"),
    ({"tox.ini": "[tox]\n"}, "tox", "tox.ini"),
    ({"noxfile.py": "import nox"}, "nox", "noxfile.py"),
    ({"Makefile": "all: a\n\ncheck: all\n\ttrue\n"}, "make check", "Makefile"),
    ({"Makefile": "check:\n\ntest : all\n"}, "make test", "Makefile"),
    ({"Makefile": ".PHONY: test\ncheck tests: all\n"}, "make check", "Makefile"),
    ({"package.json": '{"scripts": {"test": "node --test"}}'}, "npm test", "package.json"),
    ({"package.json": '{"scripts": {"test": "x"}}', "yarn.lock": ""}, "yarn test", "package.json"),
    ({"package.json": '{"scripts": {"test": "x"}}', "pnpm-lock.yaml": ""}, "pnpm test", "package.json"),
    ({"Cargo.toml": "", "Makefile": "test:\n"}, "cargo test --offline", "Cargo.toml"),
    ({"go.mod": ""}, "go test -json ./...", "go.mod"),
    ({"pom.xml": ""}, "mvn --offline --batch-mode test", "pom.xml"),
    ({"build.gradle.kts": ""}, "gradle --offline --console=plain test", "build.gradle.kts"),
    ({"Rakefile": "Rake::TestTask.new"}, "rake test", "Rakefile"),
    ({"spec/a_spec.rb": ""}, "rspec", "spec/"),
    ({"phpunit.xml.dist": ""}, "phpunit", "phpunit.xml.dist"),
]


@pytest.mark.parametrize(("files", "command", "found_by"), FOUND)
def test_the_command_and_the_file_that_it_is_found_by(
    files: dict[str, str], command: str, found_by: str
) -> None:
    found = find_test_command(files)
    assert found is not None
    assert (found.text, found.found_by) == (command, found_by)
    in_bytes = find_test_command({path: text.encode() for path, text in files.items()})
    assert in_bytes == found


def test_cmake_is_configured_built_and_tested_in_one_command() -> None:
    found = find_test_command({"CMakeLists.txt": "project(a C)\nenable_testing()\n"})
    assert found is not None
    assert found.arguments[:2] == ("ctest", "--build-and-test")
    assert find_test_command({"CMakeLists.txt": "project(a C)\n"}) is None


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"README.md": "test: me"},
        {"Makefile": "test := 3\ntest::=3\ntesting:\n"},
        {"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'},
        {"package.json": '{"scripts": ["test"]}'},
        {"package.json": "[" * 100_000},
        {"package.json": '{"scripts": {"test": 1}}'},
        {"pyproject.toml": "[tool.pytest\n"},
        {"vendor/lib/test_a.py": "", "node_modules/x/conftest.py": ""},
        {"CMakeLists.txt": "# enable_testing()\n"},
    ],
)
def test_what_is_no_command(files: dict[str, str]) -> None:
    assert find_test_command(files) is None


def test_the_setting_comes_first() -> None:
    found = find_test_command({"pytest.ini": ""}, ["pytest", "tests/unit", "-k", "not slow"])
    assert found is not None
    assert (found.found_by, found.pytest_arguments) == (
        "execution.command",
        ("tests/unit", "-k", "not slow"),
    )
    other = find_test_command({}, ["node", "--test"])
    assert other is not None
    assert other.pytest_arguments is other.unittest_arguments is None


def test_text_of_a_file_is_no_part_of_a_command() -> None:
    evil = '{"scripts": {"test": "; rm -rf ~"}}'
    found = find_test_command({"package.json": evil, "Makefile": "test: $(shell rm -rf ~)\n"})
    assert found is not None
    assert found.arguments == ("npm", "test")


def test_what_installs_packages_says_so() -> None:
    found = find_test_command({"tox.ini": "[tox]\n"})
    assert found is not None
    assert found.note == "it runs tox, which installs packages, and the sandbox has no network"


# --- Places ---------------------------------------------------------------------------------------


def test_the_fullest_folders_come_first_with_an_example() -> None:
    tests = [f"tests/unit/test_{name}.py" for name in "abc"]
    places = find_test_places(
        ["src/app.py", "tests/__init__.py", "tests/conftest.py", *tests, "web/app.test.ts", "pkg/a_test.go"]
    )
    assert [(place.folder, place.naming, place.number, place.example) for place in places] == [
        ("tests/unit", "test_*.py", 3, "tests/unit/test_b.py"),
        ("web", "*.test.ts", 1, "web/app.test.ts"),
        ("pkg", "*_test.go", 1, "pkg/a_test.go"),
    ]
    assert find_test_places(["README.md", "src/testing.py", "vendor/x/test_a.py"]) == []


@pytest.mark.parametrize(
    ("path", "naming"),
    [
        ("test_a.py", "test_*.py"),
        ("tests/helpers.py", None),
        ("t/01-basic.t", "*.t"),
        ("src/latest.py", None),
        ("src/test/java/AppTest.java", "*Test.java"),
        ("lib/a_spec.rb", "*_spec.rb"),
        ("node_modules/x/a.test.js", None),
    ],
)
def test_how_a_test_file_is_named(path: str, naming: str | None) -> None:
    assert [place.naming for place in find_test_places([path])] == [naming] * (naming is not None)
