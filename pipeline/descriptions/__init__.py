"""Disease descriptions: the sentences that steer training."""

from .library import available_sets, load_descriptions
from .sentence import Description, Polarity

__all__ = ["Description", "Polarity", "available_sets", "load_descriptions"]
