-- Times are milliseconds since 1970, UTC.
CREATE TABLE batch (
    number      INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of acceptance
    request_id  TEXT NOT NULL UNIQUE,
    model       TEXT NOT NULL,
    items       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL, -- what its rows keep, results included
    accepted_at INTEGER NOT NULL,
    finished_at INTEGER           -- of the last item
) STRICT;
CREATE INDEX batch_by_end ON batch (finished_at) WHERE finished_at IS NOT NULL;

-- Items that have no result yet. A row leaves in the transaction that writes its result.
CREATE TABLE batch_open (
    batch     INTEGER NOT NULL REFERENCES batch (number) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    input     TEXT NOT NULL,
    reference TEXT,
    attempts  INTEGER NOT NULL DEFAULT 0, -- how often it was handed out
    PRIMARY KEY (batch, position)
) STRICT;

CREATE TABLE batch_result (
    batch     INTEGER NOT NULL REFERENCES batch (number) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    success   INTEGER NOT NULL,
    body      TEXT NOT NULL, -- the result as JSON, or the text of the error
    reference TEXT,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (batch, position)
) STRICT;

CREATE TABLE usage (
    day           TEXT NOT NULL, -- YYYY-MM-DD, UTC
    model         TEXT NOT NULL,
    requests      INTEGER NOT NULL,
    unpriced      INTEGER NOT NULL, -- requests whose neurons are not known
    neurons       REAL NOT NULL,
    input_tokens  INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    seconds       REAL NOT NULL,
    PRIMARY KEY (day, model)
) STRICT;

CREATE TABLE finetune (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    model        TEXT NOT NULL,
    description  TEXT NOT NULL,
    public       INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    modified_at  INTEGER NOT NULL,
    rank_max     INTEGER NOT NULL,
    config_bytes INTEGER, -- NULL: the file is not here yet
    weight_bytes INTEGER
) STRICT;
