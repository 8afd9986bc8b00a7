-- The places of a host's limits: who has one, who waits for one, and what memory and space is booked with it.
CREATE TABLE admissions (
    job         TEXT PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    storage     INTEGER NOT NULL,
    memory      INTEGER NOT NULL,
    space       TEXT NOT NULL,
    asked_at    REAL NOT NULL,
    seen_at     REAL NOT NULL,
    granted     INTEGER NOT NULL,
    expires_at  REAL
) STRICT;
