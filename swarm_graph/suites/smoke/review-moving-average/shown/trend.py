"""Trends of a measured value."""


def moving_average(values: list[float], size: int) -> list[float]:
    """The mean of each window of `size` values in a row."""
    if size < 1:
        raise ValueError(f"size is {size}; expected at least 1")
    starts = range(len(values) - size)
    return [sum(values[start : start + size]) / size for start in starts]


def spikes(values: list[float], size: int, limit: float) -> list[int]:
    """The indexes of the values that differ by more than `limit` from the mean of the `size` values before."""
    found = []
    for index in range(size, len(values)):
        mean = sum(values[index - size : index]) / size
        if abs(values[index] - mean) > limit:
            found.append(index)
    return found
