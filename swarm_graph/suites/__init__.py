"""Suites: cases with hidden tests, where they come from, and the judge that runs the tests."""
