-- Schema version 2: the hash chain, the store's identity, signed checkpoints.

-- Small facts about the store: `store_id` (a UUID made with the store), `public_keys` (those that signed, in order, separated by
-- blanks), `delivered_seq` (up to where events were passed on).
CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value ANY  NOT NULL
) STRICT, WITHOUT ROWID;

-- SHA-256 over what `src/chain.rs` draws; each event's covers the one before it. From this version on `seq` has no holes.
ALTER TABLE events ADD COLUMN chain_hash BLOB NOT NULL DEFAULT x'';

-- Signed statements about the chain, each as the line that also stands in the plain file `<store>.checkpoints`.
-- `kind`: `mark`, the chain had `chain_hash` at `seq`; `cut`, retention removed the events up to `seq`.
CREATE TABLE checkpoints (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    kind       TEXT    NOT NULL CHECK (kind IN ('mark', 'cut')),
    seq        INTEGER NOT NULL,
    chain_hash BLOB    NOT NULL,
    line       TEXT    NOT NULL
) STRICT;
CREATE INDEX checkpoints_by_seq ON checkpoints (seq);
