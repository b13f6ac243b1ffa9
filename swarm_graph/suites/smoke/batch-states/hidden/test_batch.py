import pytest
from batch import Batch, IllegalCommand


def after(*commands):
    batch = Batch()
    for command in commands:
        batch.command(command)
    return batch


def test_a_whole_batch():
    batch = Batch()
    assert batch.state == "idle"
    commands = ["start", "filled", "finish", "drained"]
    assert [batch.command(command) for command in commands] == ["filling", "running", "draining", "idle"]
    assert batch.history == ["idle", "filling", "running", "draining", "idle"]
    assert batch.count == 1


def test_resume_goes_back_to_where_it_was_held():
    assert after("start", "hold", "resume").state == "filling"
    assert after("start", "filled", "hold", "resume").state == "running"
    assert after("start", "hold", "resume", "filled", "hold", "resume").state == "running"


@pytest.mark.parametrize("commands", [(), ("start",), ("start", "filled"), ("start", "hold"), ("start", "filled", "finish")])
def test_stop(commands):
    batch = after(*commands, "stop")
    assert batch.state == "stopped"
    assert batch.allowed == ["reset"]
    with pytest.raises(IllegalCommand):
        batch.command("stop")
    assert batch.command("reset") == "idle"
    assert batch.count == 0


def test_a_hold_does_not_survive_a_stop():
    batch = after("start", "hold", "stop", "reset")
    with pytest.raises(IllegalCommand):
        batch.command("resume")


@pytest.mark.parametrize(
    ("commands", "command", "state"),
    [
        ((), "filled", "idle"),
        ((), "hold", "idle"),
        (("start",), "start", "filling"),
        (("start", "filled"), "drained", "running"),
        (("start", "filled", "finish"), "hold", "draining"),
        (("start", "hold"), "hold", "held"),
        ((), "explode", "idle"),
        ((), "START", "idle"),
    ],
)
def test_illegal_commands(commands, command, state):
    batch = after(*commands)
    history = batch.history
    with pytest.raises(IllegalCommand) as error:
        batch.command(command)
    assert command in str(error.value)
    assert state in str(error.value)
    assert batch.state == state
    assert batch.history == history


def test_allowed():
    assert after().allowed == ["start", "stop"]
    assert after("start").allowed == ["filled", "hold", "stop"]
    assert after("start", "filled").allowed == ["finish", "hold", "stop"]
    assert after("start", "hold").allowed == ["resume", "stop"]
    assert after("start", "filled", "finish").allowed == ["drained", "stop"]


def test_the_history_is_safe():
    batch = after("start")
    batch.history.append("exploded")
    assert batch.history == ["idle", "filling"]


def test_batches_do_not_share_anything():
    first, second = after("start"), Batch()
    assert (first.state, second.state, second.history) == ("filling", "idle", ["idle"])


def test_it_is_a_runtime_error():
    assert issubclass(IllegalCommand, RuntimeError)
