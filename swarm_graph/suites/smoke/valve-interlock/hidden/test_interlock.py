import pytest
from interlock import DoubleBlock, Interlocked
from valves import Locked, Valve


def line(upstream=True, bleed=False, downstream=True):
    return DoubleBlock(Valve("XV-1", upstream), Valve("XV-2", bleed), Valve("XV-3", downstream))


def test_a_valve():
    valve = Valve("XV-9")
    assert (valve.tag, valve.is_open, valve.is_locked) == ("XV-9", False, False)
    valve.open()
    valve.open()
    assert valve.is_open
    valve.lock()
    with pytest.raises(Locked):
        valve.close()
    with pytest.raises(Locked):
        valve.open()
    assert valve.is_open
    valve.unlock()
    valve.close()
    assert not valve.is_open


def test_isolate_and_release():
    block = line()
    assert not block.is_isolated
    block.isolate()
    assert block.is_isolated
    block.release()
    assert not block.is_isolated
    assert block.moves == ["close XV-3", "close XV-1", "open XV-2", "close XV-2", "open XV-1", "open XV-3"]


def test_only_real_moves_are_listed():
    block = line(upstream=False)
    block.isolate()
    assert block.moves == ["close XV-3", "open XV-2"]
    block.isolate()
    assert block.moves == ["close XV-3", "open XV-2"]


def test_closed_valves_are_not_isolated_without_the_bleed():
    block = line(upstream=False, downstream=False)
    assert not block.is_isolated
    with pytest.raises(Interlocked):
        block.release()
    assert block.moves == []


@pytest.mark.parametrize(("upstream", "downstream"), [(True, False), (False, True), (True, True)])
def test_valves_that_break_the_rule(upstream, downstream):
    with pytest.raises(ValueError):
        line(upstream=upstream, bleed=True, downstream=downstream)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_locked_valve_stops_everything_before_it_begins(number):
    valves = [Valve("XV-1", True), Valve("XV-2"), Valve("XV-3", True)]
    block = DoubleBlock(*valves)
    valves[number].lock()
    with pytest.raises(Interlocked):
        block.isolate()
    assert [valve.is_open for valve in valves] == [True, False, True]
    assert block.moves == []


def test_a_locked_valve_that_need_not_move_stops_nothing():
    valves = [Valve("XV-1"), Valve("XV-2"), Valve("XV-3", True)]
    valves[0].lock()
    block = DoubleBlock(*valves)
    block.isolate()
    assert block.is_isolated
    with pytest.raises(Interlocked):
        block.release()
    assert block.is_isolated


def test_lock_out():
    block = line()
    with pytest.raises(Interlocked):
        block.lock_out("Ann")
    block.isolate()
    block.lock_out("Ann")
    block.lock_out("Bob")
    block.lock_out("Ann")
    with pytest.raises(Interlocked):
        block.release()
    block.remove_lock("Ann")
    with pytest.raises(Interlocked):
        block.remove_lock("Ann")
    with pytest.raises(Interlocked):
        block.release()
    assert block.is_isolated
    block.remove_lock("Bob")
    block.release()
    assert not block.is_isolated


def test_lock_out_locks_the_valves():
    valves = [Valve("XV-1"), Valve("XV-2", True), Valve("XV-3")]
    block = DoubleBlock(*valves)
    block.lock_out("Ann")
    assert [valve.is_locked for valve in valves] == [True, True, True]
    block.isolate()
    block.remove_lock("Ann")
    assert [valve.is_locked for valve in valves] == [False, False, False]


def test_errors_are_runtime_errors():
    assert issubclass(Locked, RuntimeError)
    assert issubclass(Interlocked, RuntimeError)
