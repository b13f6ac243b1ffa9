import pytest
from interlock import DoubleBlock, Interlocked
from valves import Locked, Valve


def test_the_order_of_the_moves():
    block = DoubleBlock(Valve("A", True), Valve("B"), Valve("C", True))
    block.isolate()
    assert block.moves == ["close C", "close A", "open B"]
    assert block.is_isolated


def test_locks():
    valve = Valve("A")
    valve.lock()
    with pytest.raises(Locked):
        valve.open()
    block = DoubleBlock(valve, Valve("B", True), Valve("C"))
    block.lock_out("x")
    block.lock_out("y")
    block.remove_lock("x")
    with pytest.raises(Interlocked):
        block.release()
    with pytest.raises(Interlocked):
        block.remove_lock("x")


def test_nothing_moves_if_one_is_locked():
    upstream, bleed, downstream = Valve("A", True), Valve("B"), Valve("C", True)
    bleed.lock()
    with pytest.raises(Interlocked):
        DoubleBlock(upstream, bleed, downstream).isolate()
    assert upstream.is_open
    assert downstream.is_open


def test_the_first_rule():
    with pytest.raises(ValueError):
        DoubleBlock(Valve("A", True), Valve("B", True), Valve("C"))
