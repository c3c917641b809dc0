-- Schema version 1: the events, and the requests that are still under way.

-- One row per audit event. `seq` is the store's own numbering: rising, never reused, in the order in which events became durable.
-- `body` is the event as JSON, exactly as it was recorded; the other columns repeat what is looked up by.
-- `phase`: 0 for the one event that answers a request (decision, rejected, auth_failure, limit), 1 for its completion.
CREATE TABLE events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   TEXT    NOT NULL UNIQUE,
    ts_us      INTEGER NOT NULL,
    kind       TEXT    NOT NULL,
    phase      INTEGER NOT NULL CHECK (phase IN (0, 1)),
    tenant     TEXT    NOT NULL,
    request_id TEXT,
    decision   TEXT,
    severity   TEXT,
    body       TEXT    NOT NULL
) STRICT;

-- At most one decision and one completion per request. An event without a request id has NULL here, and NULLs are distinct.
CREATE UNIQUE INDEX events_by_request ON events (request_id, phase);
CREATE INDEX events_by_time ON events (ts_us);

-- Requests that were decided and forwarded and have no completion yet: written and deleted in the same transaction as the events,
-- so that what a crash left open is found without reading the whole table.
CREATE TABLE open_requests (
    request_id TEXT    NOT NULL PRIMARY KEY,
    seq        INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
