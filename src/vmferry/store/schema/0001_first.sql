CREATE TABLE peers (
    name        TEXT PRIMARY KEY,
    address     TEXT NOT NULL,
    port        INTEGER NOT NULL,
    certificate TEXT NOT NULL,
    fingerprint TEXT NOT NULL UNIQUE,
    callers     TEXT NOT NULL,
    paired_at   REAL NOT NULL,
    paired_by   TEXT NOT NULL
) STRICT;

CREATE TABLE invitations (
    digest      TEXT PRIMARY KEY,
    callers     TEXT NOT NULL,
    created_by  TEXT NOT NULL,
    expires_at  REAL NOT NULL
) STRICT;

CREATE TABLE jobs (
    id          TEXT PRIMARY KEY,
    role        TEXT NOT NULL,
    vm          TEXT NOT NULL,
    peer        TEXT NOT NULL,
    caller      TEXT NOT NULL,
    options     TEXT NOT NULL,
    state       TEXT NOT NULL,
    phase       TEXT NOT NULL,
    reason      TEXT,
    error       TEXT,
    summary     TEXT,
    created_at  REAL NOT NULL,
    updated_at  REAL NOT NULL,
    ended_at    REAL
) STRICT;

-- One move of a VM at a time, whoever asks at the same moment.
CREATE UNIQUE INDEX jobs_active ON jobs (vm) WHERE ended_at IS NULL;
CREATE INDEX jobs_created ON jobs (created_at);

CREATE TABLE journal (
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL,
    at      REAL NOT NULL,
    phase   TEXT NOT NULL,
    detail  TEXT NOT NULL,
    PRIMARY KEY (job, seq)
) STRICT;

CREATE TABLE settings (
    key     TEXT PRIMARY KEY,
    value   TEXT NOT NULL
) STRICT;
