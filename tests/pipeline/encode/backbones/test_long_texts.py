"""Sentences beyond the context: counted, told, and pooled from pieces if asked."""

from pathlib import Path

import numpy as np
import pytest
from command_line import run_command
from hypothesis import given
from hypothesis import strategies as st
from image_samples import write_dataset, write_tiny_backbone

from retune.pipeline.encode.backbones.chunking import with_long_texts
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.backbones.token_counts import count_tokens, split_text
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.queries.bulk import read_vectors

_SHORT = "Pulmonary edema."
_LONG = " ".join(f"edema in zone {number}," for number in range(40))


def _words(text: str) -> int:
    return len(text.split()) + 2


@given(st.lists(st.text("ab", min_size=1, max_size=4), min_size=1), st.integers(3, 9))
def test_pieces_hold_every_word_fit_and_are_as_few_as_can_be(
    words: list[str], limit: int
) -> None:
    pieces = split_text(" ".join(words), _words, limit)
    assert " ".join(pieces).split() == words
    assert all(_words(piece) <= limit for piece in pieces)
    assert len(pieces) == -(-len(words) // (limit - 2))


def test_a_word_that_does_not_fit_stands_alone() -> None:
    assert split_text("a bcdefgh i", len, 4) == ("a", "bcdefgh", "i")


def test_tokens_are_counted_as_the_tokenizer_makes_them() -> None:
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.SimpleTokenizer(context_length=77)
    for text in (_SHORT, "", "Kerley B lines, 2 mm; 50 % of µm."):
        ids = tokenizer([text], context_length=200)[0]
        assert count_tokens(tokenizer, text) == int(ids.argmax()) + 1
    assert count_tokens(object(), _SHORT) is None


def test_a_word_piece_tokenizer_is_counted_by_its_own_call() -> None:
    class Pieces:
        clean_fn = staticmethod(str.strip)

        @staticmethod
        def tokenizer(text: str) -> dict[str, list[int]]:
            return {"input_ids": [101, *map(len, text.split()), 102]}

    assert count_tokens(Pieces(), "  two words ") == 4


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    write_dataset(folder / "data", 60)
    write_tiny_backbone(folder / "tiny")
    (folder / "long.yaml").write_text(
        "set: long\ngenerator: person\ncreated_at: 2026\nfindings:\n  Edema:\n"
        f"    positive: ['{_SHORT}', '{_LONG}']\n    negative: [No edema.]\n"
    )
    done = run_command(
        "ingest", "data", "--layout", "table", "--store", "store", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return folder


def _embed(workspace: Path, *more: object) -> str:
    done = run_command(
        "embed", "--backbone", f"local-dir:{workspace / 'tiny'}", "--store", "store",
        "--descriptions", workspace / "long.yaml", *more, cwd=workspace,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_what_is_cut_is_told_and_stored_and_chunks_are_another_set(
    workspace: Path,
) -> None:
    said = _embed(workspace)
    assert f"Cut, too long for local-dir:{workspace / 'tiny'}: {_LONG}" in said
    assert "1 description was cut" in said
    store = FeatureStore(workspace / "store")
    lengths = store.sql(
        """SELECT text, n_tokens, truncated FROM text_lengths JOIN descriptions
        ON item_id = text_digest WHERE set_name = 'long' AND finding = 'Edema'"""
    ).fetchall()
    length_of = {text: (n_tokens, truncated) for text, n_tokens, truncated in lengths}
    assert length_of[_SHORT][1] is False
    assert length_of[_LONG][0] > 24
    assert length_of[_LONG][1] is True

    said = _embed(workspace, "--long", "chunk")
    assert "were cut" not in said
    assert "0 images encoded" in said
    plain, chunked = (
        row[0]
        for row in store.sql(
            "SELECT fingerprint FROM encoders ORDER BY added_at"
        ).fetchall()
    )
    assert plain != chunked
    images = [dict(zip(*read_vectors(store, f), strict=True)) for f in (plain, chunked)]
    assert len(images[0]) == 60
    assert images[0].keys() == images[1].keys()
    assert all((images[0][key] == images[1][key]).all() for key in images[0])
    texts = [
        dict(zip(*read_vectors(store, fingerprint, "text"), strict=True))
        for fingerprint in (plain, chunked)
    ]
    differ = [key for key in texts[0] if (texts[0][key] != texts[1][key]).any()]
    digests = dict(store.sql("SELECT text, text_digest FROM descriptions").fetchall())
    assert [key.decode() for key in differ] == [digests[_LONG]]
    cut = store.sql(
        "SELECT count(*) FROM text_lengths WHERE fingerprint = ? AND truncated",
        [chunked],
    ).fetchall()
    assert cut == [(0,)]
    assert not store.verify()

    # Nothing is left to do; the backbone is not even loaded.
    assert "0 descriptions encoded" in _embed(workspace, "--long", "chunk")
    assert "loading" not in _embed(workspace, "--long", "chunk")


def test_a_long_text_is_the_mean_of_its_pieces(workspace: Path) -> None:
    source = source_of(
        f"local-dir:{workspace / 'tiny'}", precision="float32", output_dtype="float32"
    )
    plain = load_backbone(source, precision="float32", output_dtype="float32")
    chunked = with_long_texts(plain, "chunk")
    assert with_long_texts(plain, "cut") is plain
    pieces = split_text(_LONG, lambda text: count_tokens(plain.tokenizer, text), 24)
    assert len(pieces) > 1
    wanted = plain.encode_texts(pieces).mean(axis=0)
    got = chunked.encode_texts([_SHORT, _LONG])
    np.testing.assert_allclose(got[1], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        got[0], plain.encode_texts([_SHORT])[0], rtol=1e-4, atol=1e-5
    )


def test_a_run_on_chunks_predicts_image_files(workspace: Path) -> None:
    _embed(workspace, "--long", "chunk")
    store = FeatureStore(workspace / "store")
    chunked = store.sql(
        'SELECT fingerprint FROM encoders WHERE contains(spec, \'"long":"chunk"\')'
    ).fetchall()[0][0]
    image = store.sql("SELECT root || '/' || path FROM images, datasets").fetchall()
    for command in (
        ("train", "--scenario", "joint", "--epochs", 1, "--no-bounds",
         "--descriptions", "long", "--fingerprint", chunked),
        ("predict", "latest", image[0][0]),
    ):  # fmt: skip
        done = run_command(*command, "--store", "store", cwd=workspace)
        assert done.returncode == 0, done.stderr


def test_an_unknown_way_is_refused(workspace: Path) -> None:
    with pytest.raises(ConfigurationError, match="'drop'"):
        embed(FeatureStore(workspace / "store"), EmbedOptions(long="drop"))


def test_a_store_without_the_table_gets_it(workspace: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "old")
    store.sql("DROP TABLE text_lengths", write=True)
    options = EmbedOptions(backbone=f"local-dir:{workspace / 'tiny'}")
    embed(store, options)
    counted = store.sql(
        "SELECT count(*), count(n_tokens), count(truncated) FROM text_lengths"
    ).fetchall()
    assert counted[0][0] == counted[0][1] == counted[0][2] > 300
