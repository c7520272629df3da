"""The catalog's tables. They are public: users query them in SQL (see FORMAT.md)."""

from collections.abc import Iterable, Sequence

__all__ = [
    "ADD_COLUMNS",
    "CREATE_TABLES",
    "DESCRIPTION_TABLES",
    "LATER_COLUMNS",
    "TABLE_NAMES",
    "create_table",
    "label_matrix_sql",
    "quoted",
]

_TABLES = {
    "datasets": """
        dataset VARCHAR, layout VARCHAR, root VARCHAR, ingested_at TIMESTAMP,
        split_seed INTEGER, n_images BIGINT, warnings VARCHAR[]""",
    "dataset_populations": "dataset VARCHAR, population VARCHAR",
    "dataset_links": "dataset VARCHAR, follow_links BOOLEAN",
    "dataset_findings": "dataset VARCHAR, finding VARCHAR, position INTEGER",
    "images": """
        image_id VARCHAR, dataset VARCHAR, path VARCHAR, patient_id VARCHAR,
        study_id VARCHAR, view VARCHAR, sex VARCHAR, age FLOAT, split VARCHAR,
        content_digest VARCHAR, size_bytes BIGINT, mtime_ns BIGINT,
        acquired_at TIMESTAMP, series_id VARCHAR, device VARCHAR, site VARCHAR""",
    "table_readings": "dataset VARCHAR, reading VARCHAR",
    "labels": "image_id VARCHAR, finding VARCHAR, state VARCHAR",
    "label_versions": """
        dataset VARCHAR, version INTEGER, digest VARCHAR, made_at TIMESTAMP,
        n_images BIGINT""",
    "old_labels": """
        dataset VARCHAR, version INTEGER, image_id VARCHAR, finding VARCHAR,
        state VARCHAR""",
    "label_edits": """
        dataset VARCHAR, version INTEGER, image_id VARCHAR, finding VARCHAR,
        state_before VARCHAR, state_after VARCHAR, author VARCHAR, made_at TIMESTAMP""",
    "image_notes": """
        image_id VARCHAR, finding VARCHAR, text VARCHAR, author VARCHAR,
        made_at TIMESTAMP""",
    "pseudonym_keys": "dataset VARCHAR, key_check VARCHAR",
    "descriptions": """
        description_id VARCHAR, set_name VARCHAR, finding VARCHAR, polarity VARCHAR,
        text VARCHAR, text_digest VARCHAR, generator VARCHAR, model VARCHAR,
        created_at VARCHAR, instruction_digest VARCHAR, reviewed BOOLEAN,
        edited BOOLEAN, source VARCHAR""",
    "description_sets": """
        set_name VARCHAR, made_by VARCHAR, parent VARCHAR, language VARCHAR,
        n_sentences INTEGER, created_at VARCHAR""",
    "description_origins": """
        description_id VARCHAR, position INTEGER, requested_model VARCHAR,
        resolved_model VARCHAR, host VARCHAR, parameters VARCHAR, seed BIGINT,
        template VARCHAR, template_version VARCHAR, template_digest VARCHAR,
        prompt_digest VARCHAR, asked_at VARCHAR, response_digest VARCHAR,
        accepted VARCHAR[]""",
    "description_drafts": """
        set_name VARCHAR, request_digest VARCHAR, finding VARCHAR, content VARCHAR""",
    "text_lengths": """
        fingerprint VARCHAR, item_id VARCHAR, n_tokens INTEGER, truncated BOOLEAN""",
    "image_display": "content_digest VARCHAR, display VARCHAR",
    "burned_in_text": "content_digest VARCHAR",
    "encoders": """
        fingerprint VARCHAR, backbone VARCHAR, precision VARCHAR, dim INTEGER,
        dtype VARCHAR, spec VARCHAR, device VARCHAR, added_at TIMESTAMP""",
    "trained_on": """
        fingerprint VARCHAR, kind VARCHAR, population VARCHAR, name VARCHAR""",
    "encodings": """
        fingerprint VARCHAR, images BIGINT, seconds DOUBLE, device VARCHAR,
        "at" TIMESTAMP""",
    "encoder_sources": "source_digest VARCHAR, fingerprint VARCHAR",
    "shards": """
        shard_id VARCHAR, fingerprint VARCHAR, modality VARCHAR, path VARCHAR,
        n_rows BIGINT, dim INTEGER, dtype VARCHAR, bytes BIGINT, offset_bytes BIGINT,
        key_offset_bytes BIGINT, key_crc32 BIGINT, added_at TIMESTAMP""",
    "features": """
        fingerprint VARCHAR, modality VARCHAR, item_id VARCHAR, shard_id VARCHAR,
        "row" INTEGER""",
    "failures": """
        image_id VARCHAR, path VARCHAR, stage VARCHAR, error VARCHAR,
        attempt INTEGER, "at" TIMESTAMP, content_digest VARCHAR""",
    "runs": """
        run_id VARCHAR, fingerprint VARCHAR, scenario VARCHAR, method VARCHAR,
        seed INTEGER, config VARCHAR, started_at TIMESTAMP, seconds DOUBLE,
        status VARCHAR""",
    "metrics": """
        run_id VARCHAR, task INTEGER, split VARCHAR, finding VARCHAR,
        metric VARCHAR, value DOUBLE, ci_low DOUBLE, ci_high DOUBLE""",
    "catalog_state": "commits BIGINT",
    "shard_checksums": """
        shard_id VARCHAR, file_crc32 BIGINT, block_rows INTEGER,
        block_crc32 BIGINT[]""",
    "predictions": """
        run_id VARCHAR, task INTEGER, image_id VARCHAR, finding VARCHAR,
        score FLOAT, probability FLOAT, uncertainty FLOAT, distance FLOAT,
        out_of_distribution BOOLEAN""",
    "curves": """
        curve_id VARCHAR, fingerprint VARCHAR, config VARCHAR, made_at TIMESTAMP,
        method VARCHAR, n_patients BIGINT, n_images DOUBLE, seed INTEGER,
        finding VARCHAR, metric VARCHAR, value DOUBLE, ci_low DOUBLE,
        ci_high DOUBLE""",
    "label_audits": """
        audit_id VARCHAR, fingerprint VARCHAR, made_at TIMESTAMP, rank BIGINT,
        image_id VARCHAR, finding VARCHAR, label TINYINT, probability DOUBLE,
        disagreement DOUBLE, suspected BOOLEAN""",
    "duplicate_audits": """
        audit_id VARCHAR, fingerprint VARCHAR, made_at TIMESTAMP, rank BIGINT,
        first_image_id VARCHAR, second_image_id VARCHAR, cosine DOUBLE,
        same_patient BOOLEAN, across_splits BOOLEAN""",
    "run_names": "run_id VARCHAR, name VARCHAR",
    "run_tags": "run_id VARCHAR, tag VARCHAR",
    "run_marks": "run_id VARCHAR, mark VARCHAR, erasure_id VARCHAR",
    "erasures": """
        erasure_id VARCHAR, "at" VARCHAR, requested_by VARCHAR, n_patients BIGINT,
        previous VARCHAR, link VARCHAR, signature VARCHAR""",
    "tombstones": "patient_digest VARCHAR, erased_at TIMESTAMP",
    "superseded_contributions": "old_digest VARCHAR, new_digest VARCHAR",
    "drift": """
        drift_id VARCHAR, "at" TIMESTAMP, grouped_by VARCHAR, reference VARCHAR,
        fingerprint VARCHAR, run_id VARCHAR, group_name VARCHAR, finding VARCHAR,
        metric VARCHAR, value DOUBLE, ci_low DOUBLE, ci_high DOUBLE, p_value DOUBLE,
        p_corrected DOUBLE, n_images BIGINT, n_patients BIGINT""",
}

TABLE_NAMES: Sequence[str] = tuple(_TABLES)


def create_table(name: str) -> str:
    """The statement that makes a table if there is none."""
    return f"CREATE TABLE IF NOT EXISTS {name} ({_TABLES[name]})"


#: Statements that make an empty catalog of format version 1.
CREATE_TABLES: Sequence[str] = [create_table(name) for name in _TABLES]

#: Columns that came later: added to an older store's table when it is written to.
LATER_COLUMNS = {
    "predictions": (
        ("uncertainty", "FLOAT"), ("distance", "FLOAT"),
        ("out_of_distribution", "BOOLEAN"),
    ),
}  # fmt: skip
#: Statements that add the columns of `images` that came later to an older catalog.
ADD_COLUMNS: Sequence[str] = [
    f"ALTER TABLE images ADD COLUMN IF NOT EXISTS {column}"
    for column in (
        "acquired_at TIMESTAMP", "series_id VARCHAR", "device VARCHAR", "site VARCHAR",
    )
]  # fmt: skip

#: Tables that came later: made in an older store when they are first written to.
DESCRIPTION_TABLES = ("description_sets", "description_origins", "description_drafts")


def quoted(name: str) -> str:
    """A name as a SQL identifier.

    >>> quoted('a b')
    '"a b"'
    """
    return '"' + name.replace('"', '""') + '"'


def label_matrix_sql(findings: Iterable[str]) -> str:
    """The view `label_matrix`: a row per image, a column per finding.

    A cell is 1 (positive), 0 (negative), -1 (uncertain) or NULL (not mentioned).
    """
    columns = [
        f"max(CASE WHEN finding = '{literal}' THEN CASE state WHEN 'positive' THEN 1 "
        f"WHEN 'negative' THEN 0 WHEN 'uncertain' THEN -1 END END)::TINYINT "
        f"AS {quoted(name)}"
        for name in findings
        for literal in [name.replace("'", "''")]
    ]
    chosen = ", ".join(["image_id", *columns])
    return (
        f"CREATE OR REPLACE VIEW label_matrix AS SELECT {chosen} FROM labels "
        "GROUP BY image_id"
    )
