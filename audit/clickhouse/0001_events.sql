-- Version 1: the events, one row each, and the view in which each stands once.
--
-- Words between at signs are set by `portcullis audit migrate`; a statement that begins with `-- on a cluster` runs only there.
-- Sent again, a row has the same tenant, ts and event_id: merges keep one of them, and `events_read` shows one of them before that.
-- A block sent again under its token within the window is not written at all.
CREATE TABLE IF NOT EXISTS @database@.@events_data@@on_cluster@ (
    tenant          LowCardinality(String),
    ts              DateTime64(6, 'UTC')             COMMENT 'the event''s moment; outside 1970 to 2262 the nearest of them' CODEC(Delta, ZSTD),
    event_id        UUID,
    store_id        LowCardinality(String)           COMMENT 'the gateway''s store it comes from',
    seq             UInt64                           COMMENT 'its number there' CODEC(Delta, ZSTD),
    chain_hash      FixedString(32)                  COMMENT 'its link in the store''s hash chain',
    schema          UInt16,
    kind            LowCardinality(String),
    request_id      String                           CODEC(ZSTD),
    gateway         LowCardinality(String),
    key_id          LowCardinality(String),
    client_addr     String                           CODEC(ZSTD),
    session_id      String                           CODEC(ZSTD),
    prompt_hash     String                           COMMENT 'keyed fingerprint of the prompt, hexadecimal' CODEC(ZSTD),
    route           LowCardinality(String),
    model           LowCardinality(String),
    upstream        LowCardinality(String),
    direction       LowCardinality(String)           COMMENT 'here and below: empty where it does not apply',
    decision        LowCardinality(String),
    intended        LowCardinality(String),
    severity        LowCardinality(String),
    `findings.rule`      Array(LowCardinality(String)),
    `findings.category`  Array(LowCardinality(String)),
    `findings.severity`  Array(LowCardinality(String)),
    `findings.direction` Array(LowCardinality(String)),
    `findings.action`    Array(LowCardinality(String)),
    `findings.count`     Array(UInt32),
    guard_state     LowCardinality(String),
    guard_label     LowCardinality(String),
    guard_reason    LowCardinality(String),
    guard_score     Nullable(Float32),
    policy          LowCardinality(String),
    policy_version  LowCardinality(String),
    mode            LowCardinality(String),
    failed_open     Array(LowCardinality(String)),
    coverage_limits Array(LowCardinality(String)),
    outcome         LowCardinality(String),
    status          UInt16                           COMMENT '0 where no status was sent',
    tokens_in       Nullable(UInt64),
    tokens_out      Nullable(UInt64),
    tokens_source   LowCardinality(String),
    bytes_in        Nullable(UInt64),
    bytes_out       Nullable(UInt64),
    text_bytes      Nullable(UInt64),
    screened_bytes  Nullable(UInt64),
    receive_us      Nullable(UInt64),
    authenticate_us Nullable(UInt64),
    limit_us        Nullable(UInt64),
    parse_us        Nullable(UInt64),
    screen_rules_us Nullable(UInt64),
    screen_model_us Nullable(UInt64),
    decide_us       Nullable(UInt64),
    record_us       Nullable(UInt64),
    connect_us      Nullable(UInt64),
    first_byte_us   Nullable(UInt64),
    upstream_us     Nullable(UInt64),
    screen_back_us  Nullable(UInt64),
    total_us        Nullable(UInt64),
    cut             Bool,
    body            String                           COMMENT 'the event as it is stored, exact JSON' CODEC(ZSTD(3)),
    sealed_prompt   String                           ALIAS JSONExtractString(body, 'sealed_prompt'),
    sealed_answer   String                           ALIAS JSONExtractString(body, 'sealed_answer')
)
ENGINE = @replacing@
PARTITION BY toYYYYMM(ts)
ORDER BY (tenant, ts, event_id)
TTL toDateTime(ts) + toIntervalDay(@days@)
SETTINGS @window@, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- on a cluster: the table that is written and read; an event sent again goes to the same shard.
CREATE TABLE IF NOT EXISTS @database@.events@on_cluster@ AS @database@.@events_data@
ENGINE = Distributed(@cluster@, @database@, @events_data@, cityHash64(event_id));

CREATE VIEW IF NOT EXISTS @database@.events_read@on_cluster@ AS
SELECT *, sealed_prompt, sealed_answer FROM @database@.events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
