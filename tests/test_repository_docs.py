"""docs/repositories.md is true: its commands and its Python run on the repository that it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pages import Page
from support import SIMULATED, sandbox

PAGE = Page("repositories.md")
SCRIPT = '''\
<!-- coder 1 -->
```python path=prices.py
"""Prices of a shop."""


def total(prices, discount=0):
    """The sum of prices, less a discount in percent."""
    return sum(prices) * (100 - discount) / 100
```

<!-- tester 1 -->
```python path=tests/test_prices.py
from prices import total


def test_without_a_discount():
    assert total([1, 2]) == 3


def test_a_discount_is_in_percent():
    assert total([50], discount=10) == 45
```

<!-- reviewer 1 -->
{"findings": [], "approved": true}

<!-- security 1 -->
{"findings": [], "approved": true}

<!-- documenter 1 -->
```markdown path=README.md
# Shop

`total(prices, discount)`: the discount is in percent.
```
'''


@pytest.mark.slow
def test_its_commands_and_its_python_print_what_it_shows(tmp_path: Path) -> None:
    assert sandbox() in ("bubblewrap", "landlock")
    (tmp_path / "script.md").write_text(SCRIPT)
    model = {
        **SIMULATED["model_config"]["single_model"],
        "simulation": {"script": str(tmp_path / "script.md")},
    }
    (tmp_path / "config.json").write_text(json.dumps({"model_config": {"single_model": model}}))
    (tmp_path / "explain.md").write_text("Explain.\n---\n$files\n")
    PAGE.follow(tmp_path)
