"""What the doors share. Axes: N pool points, K samples, C classes."""

from alkbald.acquisition import METHODS, Method


def method_of_fixed_size(name: str) -> Method:
    """The method of a name in `METHODS`, if its batches are as large as they are asked to be: other packages count on
    that.

    Raises:
        ValueError: there is no such method, or it chooses the size of its batch.
    """
    allowed = sorted(name for name, method in METHODS.items() if not method.chooses_size)
    if name not in allowed:
        raise ValueError(f"method must be one of {', '.join(allowed)}, got {name!r}")
    return METHODS[name]
