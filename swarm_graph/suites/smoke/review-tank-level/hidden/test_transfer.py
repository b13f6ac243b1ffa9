import pytest
from tank import volume
from transfer import next_step


def test_volume():
    assert volume(2, 10) == pytest.approx(157.0796)
    with pytest.raises(ValueError):
        volume(12.1, 10)


@pytest.mark.parametrize(
    ("readings", "target", "step"),
    [
        ([], 500, "hold"),
        ([5.0, 5.0], 500, "hold"),
        ([5.0, 5.02, 5.1], 500, "hold"),
        ([5.0, 5.0, 5.0], 500, "run"),
        ([6.1, 6.1, 6.1], 500, "slow"),
        ([6.4, 6.4, 6.4], 500, "stop"),
        ([10.0, 11.0, 11.3], 5000, "stop"),
        ([11.2], 5000, "stop"),
        ([5.0, 6.0, 6.5], 500, "stop"),
    ],
)
def test_steps(readings, target, step):
    assert next_step(readings, 10, target) == step
