-- The life of a model. Files are named by the SHA-256 of their bytes and lie in `objects`; no place of any host is written here.

CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- What arrived, in its order.
CREATE TABLE snapshots (
    id         INTEGER PRIMARY KEY,
    name       TEXT NOT NULL,
    at         REAL NOT NULL,
    train      TEXT NOT NULL,            -- the pack of images to learn from
    validation TEXT,                     -- the pack of images to judge by
    record     TEXT NOT NULL,            -- JSON: SnapshotRecord
    dropped    INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The files that snapshots of a folder were made of.
CREATE TABLE files (
    sha256   TEXT PRIMARY KEY,
    name     TEXT NOT NULL,
    bytes    INTEGER NOT NULL,
    snapshot INTEGER NOT NULL REFERENCES snapshots (id)
) STRICT;

-- What was done about a snapshot.
CREATE TABLE steps (
    id       INTEGER PRIMARY KEY,
    snapshot INTEGER NOT NULL REFERENCES snapshots (id),
    head     INTEGER REFERENCES versions (id), -- the version whose trunk it goes on from
    settings TEXT NOT NULL,              -- the spec as it was then, TOML
    begun    REAL NOT NULL,
    ended    REAL
) STRICT;

-- Networks that were trained to their end.
CREATE TABLE versions (
    id      INTEGER PRIMARY KEY,
    step    INTEGER NOT NULL UNIQUE REFERENCES steps (id),
    parent  INTEGER REFERENCES versions (id),
    at      REAL NOT NULL,
    model   TEXT NOT NULL,               -- the release
    onnx    TEXT,
    trunk   TEXT NOT NULL,               -- the end of the stable phase, with the optimizer's state
    samples TEXT NOT NULL,               -- the mixture that it was trained on
    trial   TEXT NOT NULL,               -- the trial's spec
    record  TEXT NOT NULL                -- JSON: VersionRecord
) STRICT;

-- What was decided, and why.
CREATE TABLE decisions (
    id      INTEGER PRIMARY KEY,
    at      REAL NOT NULL,
    step    INTEGER REFERENCES steps (id),
    version INTEGER REFERENCES versions (id),
    what    TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason  TEXT NOT NULL
) STRICT;

-- What happened, also in events.jsonl.
CREATE TABLE events (
    id   INTEGER PRIMARY KEY,
    at   REAL NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL                   -- JSON
) STRICT;
