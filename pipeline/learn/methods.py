"""Methods by name."""

from .analytic import Analytic
from .finetune import ElasticFinetune, Finetune, Lwf, MaskedFinetune, ReplayFinetune
from .method import Method
from .registry import named

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
}


def method_named(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        ConfigurationError: There is none of this name.
    """
    return named("method", name, METHODS)
