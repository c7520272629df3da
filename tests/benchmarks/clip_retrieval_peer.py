"""Runs in clip-retrieval's own environment: its reader, mapper and writer, timed.

Arguments: image folder, output folder, clip_model, batch size, reading processes.
Prints images per second of the loop, without loading the model.
"""

import sys
import time

import torch
from all_clip import load_clip
from clip_retrieval.clip_inference.mapper import ClipMapper
from clip_retrieval.clip_inference.reader import FilesReader
from clip_retrieval.clip_inference.writer import NumpyWriter


class _Everything:
    """A sampler that leaves nothing out."""

    def __call__(self, files: list[str]) -> list[str]:
        return files


def main() -> None:
    """Encode a folder once to warm up and once for the clock."""
    images, output, name, batch_size, workers = sys.argv[1:]
    _, preprocess, tokenizer = load_clip(clip_model=name, use_jit=False)
    mapper = ClipMapper(
        enable_image=True, enable_text=False, enable_metadata=False, use_mclip=False,
        clip_model=name, use_jit=False, mclip_model="",
    )  # fmt: skip
    rates = []
    for turn in range(2):
        reader = FilesReader(
            _Everything(), preprocess, tokenizer, images, int(batch_size), int(workers),
            enable_text=False, enable_image=True, enable_metadata=False,
        )  # fmt: skip
        writer = NumpyWriter(turn, output, False, True, False, 2)
        started, count = time.perf_counter(), 0
        for batch in reader:
            encoded = mapper(batch)
            writer(encoded)
            count += len(encoded["image_embs"])
        writer.flush()
        rates.append(count / (time.perf_counter() - started))
    print(f"rate {rates[-1]:.3f} {torch.__version__}")


if __name__ == "__main__":
    main()
