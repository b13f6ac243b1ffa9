import pytest
from batch import Batch, IllegalCommand


def test_two_batches_in_a_row():
    batch = Batch()
    for _ in range(2):
        for command in ("start", "filled", "hold", "resume", "finish", "drained"):
            batch.command(command)
    assert batch.count == 2
    assert batch.history[-3:] == ["running", "draining", "idle"]


def test_hold_while_filling():
    batch = Batch()
    batch.command("start")
    assert batch.command("hold") == "held"
    assert batch.allowed == ["resume", "stop"]
    assert batch.command("resume") == "filling"


def test_stop_and_reset():
    batch = Batch()
    batch.command("stop")
    assert batch.allowed == ["reset"]
    assert batch.command("reset") == "idle"
    assert batch.count == 0


def test_illegal():
    batch = Batch()
    with pytest.raises(IllegalCommand, match="finish"):
        batch.command("finish")
    assert batch.history == ["idle"]
