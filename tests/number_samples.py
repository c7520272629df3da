"""Strategies of Hypothesis for numbers as files hold them."""

import numpy as np
from hypothesis import strategies as st

#: The largest finite magnitude, as the bits of an unsigned integer.
_LARGEST = {"float16": 0x7BFF, "float32": 0x7F7FFFFF}


def finite_floats(dtype: str) -> st.SearchStrategy[np.floating]:
    """Every finite number of a format, both zeros and subnormal numbers among them.

    Drawn as bits, so that no draw is thrown away: `st.floats(width=16)` discards so
    many that Hypothesis at times refuses the test.
    """
    unsigned = np.dtype(f"u{np.dtype(dtype).itemsize}")
    sign = 1 << (8 * unsigned.itemsize - 1)
    magnitudes = st.integers(0, _LARGEST[dtype])
    bits = magnitudes | magnitudes.map(lambda magnitude: magnitude | sign)
    return bits.map(lambda one: unsigned.type(one).view(dtype))
