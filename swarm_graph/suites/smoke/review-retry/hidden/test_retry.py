import pytest
from retry import Retry


class Flaky:
    def __init__(self, failures, error=OSError):
        self.failures, self.error, self.calls = failures, error, 0

    def __call__(self):
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(str(self.calls))
        return "done"


def test_it_tries_again():
    slept = []
    retry = Retry(4, 25, slept.append)
    assert retry.call(Flaky(3)) == "done"
    assert retry.pauses == slept == [25, 50, 60]


def test_the_last_failure_is_raised_without_a_pause():
    retry = Retry(2, 1, lambda _: None)
    with pytest.raises(OSError, match="2"):
        retry.call(Flaky(9))
    assert retry.pauses == [1]


def test_other_errors_pass_through():
    flaky = Flaky(1, KeyError)
    with pytest.raises(KeyError):
        Retry(3, 1, lambda _: None).call(flaky)
    assert flaky.calls == 1


def test_each_call_begins_with_the_first_pause():
    retry = Retry(3, 1, lambda _: None)
    retry.call(Flaky(2))
    retry.call(Flaky(2))
    assert retry.pauses == [1, 2, 1, 2]
