"""The encoder that imported vectors belong to."""

from collections.abc import Sequence

from retune.store import EncoderSpec, FeatureStore
from retune.store.errors import ConfigurationError, FingerprintMismatchError
from retune.store.fingerprint import content_digest

from ...exchange.contract import VectorTable
from ...exchange.identity import external_spec, source_digest
from ...exchange.importing import agreed_shape
from ...progress import Progress, ProgressCallback
from .import_request import ImportRequest

__all__ = ["imported_encoder"]


def imported_encoder(
    store: FeatureStore,
    request: ImportRequest,
    tables: Sequence[VectorTable],
    texts: Sequence[VectorTable],
    progress: ProgressCallback,
) -> EncoderSpec:
    """The encoder that the vectors are of: one of the store's, or a new one.

    Args:
        store: Where encoders of this name are looked for.
        request: What to take.
        tables: The vectors of images.
        texts: The vectors of texts.
        progress: Told before files are digested.

    Raises:
        ConfigurationError: `add` has no imported encoder of this name to add to.
        FingerprintMismatchError: The store has another encoder of this name, or the
            one to add to has vectors of another length.
    """
    dim, dtype = agreed_shape([*tables, *texts])
    rows = store.rows(
        """SELECT spec FROM encoders WHERE backbone = ?
            AND fingerprint IN (SELECT fingerprint FROM features)""",
        [request.backbone_name],
    )
    have = [EncoderSpec.from_json(row[0]) for row in rows]
    if request.add:
        return _added_to(have, request, dim)
    progress(Progress("reading files", 0, 0))
    files = request.files or request.texts
    spec = external_spec(
        request.backbone_name,
        request.backbone_version,
        content_digest(request.source.encode())
        if request.source is not None
        else source_digest(files),
        request.preprocessing,
        output_dtype=request.output_dtype or dtype,
        dim=dim,
    )
    _refuse_mixture(have, spec)
    return spec


def _refuse_mixture(have: Sequence[EncoderSpec], spec: EncoderSpec) -> None:
    """Refuse a new encoder whose name the store has given to another one."""
    others = [one for one in have if one.fingerprint != spec.fingerprint]
    if others and not any(one.fingerprint == spec.fingerprint for one in have):
        kinds = "imported from other files" if others[0].imported else "made here"
        raise FingerprintMismatchError(
            f"the store has vectors of '{spec.backbone}' that were {kinds} "
            f"({others[0].fingerprint}, D={others[0].dim}, {others[0].output_dtype}); "
            f"these would be {spec.fingerprint} (D={spec.dim}, {spec.output_dtype}), "
            "and the two never mix",
            "If the same encoder made both, say `add`; else give this one another "
            "`backbone_name`.",
        )


def _added_to(
    have: Sequence[EncoderSpec], request: ImportRequest, dim: int
) -> EncoderSpec:
    """The encoder of the store that more vectors are added to."""
    external = [one for one in have if one.imported]
    if len(external) != 1:
        raise ConfigurationError(
            f"`add` needs one imported encoder '{request.backbone_name}'; the store "
            f"has {len(external)}",
            "Import without `add` first, or check the name with `retune-cli status`.",
        )
    earlier = external[0]
    if earlier.dim != dim:
        raise FingerprintMismatchError(
            f"the store's vectors of '{request.backbone_name}' have {earlier.dim} "
            f"numbers, these have {dim}",
            "They are of another encoder: give it another `backbone_name`.",
        )
    return earlier
