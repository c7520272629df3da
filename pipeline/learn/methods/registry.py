"""Methods by name."""

from ..plugins import named
from ..problem.contract import Method
from .analytic.method import Analytic
from .ewc import ElasticFinetune
from .finetune import Finetune
from .l3a import L3a
from .linear import Linear
from .lwf import Lwf
from .mask import MaskedFinetune
from .ranpac import RanPac
from .replay import ReplayFinetune

__all__ = ["METHODS", "method_named"]

#: Name -> class. Add an entry to add a method, or name your class in the entry-point
#: group ``retune.methods`` of your package.
METHODS: dict[str, type[Method]] = {
    "finetune": Finetune,
    "mask": MaskedFinetune,
    "replay": ReplayFinetune,
    "lwf": Lwf,
    "ewc": ElasticFinetune,
    "analytic": Analytic,
    "linear": Linear,
    "ranpac": RanPac,
    "l3a": L3a,
}


def method_named(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        ConfigurationError: There is none of this name.
    """
    return named("method", name, METHODS)
