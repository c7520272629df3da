"""What a user chooses about encoding, and what came of it."""

from dataclasses import dataclass, field

from ..platform.processor import usable_cores

__all__ = ["EmbedOptions", "EmbedSummary"]

# On the processor larger batches gain nothing and cost memory; an accelerator needs
# them to be busy.
_PROCESSOR_BATCH, _ACCELERATOR_BATCH = 16, 256


@dataclass(frozen=True)
class EmbedOptions:
    """What a user can choose about encoding.

    Attributes:
        backbone: See `retune.pipeline.encode.backbones.source.source_of`.
        precision: Arithmetic of the forward pass; ``auto``: that of the vectors that
            the store already has of this backbone, else the fastest that agrees with
            float32 on this machine.
        output_dtype: Type of the stored vectors.
        decode: ``full``, or ``scaled``: large JPEG files at a smaller scale.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        engine: ``local``: this process; ``ray``: workers on a Ray cluster.
        address: Address of the cluster; None: Ray is started on this machine.
        num_gpus: Ray workers, each with a GPU; 0: one worker per decoding thread.
        batch_size: Images in a forward pass; None: what suits the device.
        compiled: Have torch.compile make the image tower faster before work starts.
        workers: Threads that read and decode where batches are not encoded side by
            side, as on an accelerator; with Ray, of all workers together.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        description_sets: Sets that ship or are in the store by name, or files.
        long: What is done with sentences that exceed the context: ``cut``, or
            ``chunk``: pooled from pieces, under a fingerprint of its own.
        pooling: Pooling of a model of transformers: ``cls``, ``mean``, ``pooler``, or
            ``auto``.
        layer: ``projected``, or ``pooled``: images before their projection.
        allow_pickle: Take pickled weights if there are no safetensors.
        retry_failed: Read again what could not be decoded before.
        wait: If another process writes to the store, wait until it has ended.
        shard_rows: Vectors in a full shard.
        flush_seconds: Publish a shard at least this often.
    """

    backbone: str = "mini"
    precision: str = "auto"
    output_dtype: str = "float16"
    decode: str = "full"
    device: str = "auto"
    engine: str = "local"
    address: str | None = None
    num_gpus: int = 0
    batch_size: int | None = None
    compiled: bool = False
    workers: int = field(default_factory=usable_cores)
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    description_sets: tuple[str, ...] = ("default",)
    long: str = "cut"
    pooling: str = "auto"
    layer: str = "projected"
    allow_pickle: bool = False
    retry_failed: bool = False
    wait: bool = False
    shard_rows: int = 16_384
    flush_seconds: float = 60.0

    def batch_size_on(self, device: str) -> int:
        """Images in a forward pass on a device such as ``cpu`` or ``cuda:0``."""
        usual = _PROCESSOR_BATCH if device == "cpu" else _ACCELERATOR_BATCH
        return self.batch_size or usual


@dataclass
class EmbedSummary:
    """What an `embed` did.

    Attributes:
        fingerprint: Fingerprint of the encoder.
        images_encoded: Images that went through the backbone.
        images_matched: Images whose content turned out to have a vector already: moved,
            renamed or duplicate files.
        images_skipped: Images that were done before and have not changed.
        images_refused: Images that could not be decoded before and have not changed.
        images_failed: Images that could not be used this time.
        images_with_text: Images that seem to have words burned in, of those encoded.
        descriptions_encoded: Sentences that went through the backbone.
        descriptions_cut: Those of them of which the backbone saw only the beginning.
        image_seconds: Time spent on images, without loading the backbone.
        read_seconds: Part of it spent waiting for decoded images.
        forward_seconds: Part of it spent in the backbone.
        write_seconds: Part of it spent waiting for a shard to be written.
    """

    fingerprint: str = ""
    images_encoded: int = 0
    images_matched: int = 0
    images_skipped: int = 0
    images_refused: int = 0
    images_failed: int = 0
    images_with_text: int = 0
    descriptions_encoded: int = 0
    descriptions_cut: list[str] = field(default_factory=list)
    image_seconds: float = 0.0
    read_seconds: float = 0.0
    forward_seconds: float = 0.0
    write_seconds: float = 0.0

    @property
    def nothing_usable(self) -> bool:
        """Whether images were there to encode and none has a vector.

        >>> EmbedSummary(images_failed=3).nothing_usable
        True
        >>> EmbedSummary(images_failed=3, images_skipped=1).nothing_usable
        False
        """
        usable = self.images_encoded + self.images_matched + self.images_skipped
        return not usable and self.images_failed + self.images_refused > 0

    @property
    def limiting_stage(self) -> str:
        """Which part of the work takes longest."""
        seconds = {
            "forward": self.forward_seconds,
            "decode": self.read_seconds,
            "write": self.write_seconds,
        }
        return max(seconds, key=lambda stage: seconds[stage])

    @property
    def efficiency(self) -> float:
        """The rate, divided by that of the forward passes alone; 1 is the best."""
        return self.forward_seconds / self.image_seconds if self.image_seconds else 0.0
