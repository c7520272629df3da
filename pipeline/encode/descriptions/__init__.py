"""Disease descriptions: the sentences that steer training."""

from .description import Description, Polarity
from .library import available_sets, load_descriptions

__all__ = ["Description", "Polarity", "available_sets", "load_descriptions"]
