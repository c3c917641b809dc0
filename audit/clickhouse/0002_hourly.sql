-- Version 2: sums by the hour, kept up by ClickHouse itself: of requests by tenant, key and model, and of findings by rule.
--
-- Read them with sum() and quantilesTDigestMerge() and GROUP BY: rows of one hour are put together when parts are merged.
CREATE TABLE IF NOT EXISTS @database@.@usage_data@@on_cluster@ (
    hour        DateTime('UTC'),
    tenant      LowCardinality(String),
    key_id      LowCardinality(String),
    model       LowCardinality(String),
    requests    SimpleAggregateFunction(sum, UInt64) COMMENT 'answered by any event but a completion',
    allowed     SimpleAggregateFunction(sum, UInt64),
    flagged     SimpleAggregateFunction(sum, UInt64),
    redacted    SimpleAggregateFunction(sum, UInt64) COMMENT 'pseudonyms too',
    blocked     SimpleAggregateFunction(sum, UInt64),
    refused     SimpleAggregateFunction(sum, UInt64) COMMENT 'for another reason than their text: framing, key, limit',
    held_back   SimpleAggregateFunction(sum, UInt64) COMMENT 'what monitoring let through and enforcing would have blocked',
    failed_open SimpleAggregateFunction(sum, UInt64),
    completed   SimpleAggregateFunction(sum, UInt64),
    failed      SimpleAggregateFunction(sum, UInt64) COMMENT 'completed with another outcome than ok',
    tokens_in   SimpleAggregateFunction(sum, UInt64),
    tokens_out  SimpleAggregateFunction(sum, UInt64),
    bytes_in    SimpleAggregateFunction(sum, UInt64),
    bytes_out   SimpleAggregateFunction(sum, UInt64),
    total_us    AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt64) COMMENT 'of completed requests'
)
ENGINE = @aggregating@
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, key_id, model)
TTL hour + toIntervalDay(@hourly_days@)
SETTINGS @window@, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS @database@.usage_hourly_fill@on_cluster@ TO @database@.@usage_data@ AS
SELECT
    toStartOfHour(toDateTime(ts, 'UTC')) AS hour,
    tenant,
    key_id,
    model,
    countIf(kind != 'completion') AS requests,
    countIf(kind = 'decision' AND decision = 'allow') AS allowed,
    countIf(kind = 'decision' AND decision = 'flag') AS flagged,
    countIf(kind = 'decision' AND decision IN ('redact', 'pseudonymize')) AS redacted,
    countIf(kind = 'decision' AND decision = 'block') AS blocked,
    countIf(kind != 'completion' AND decision = 'refused') AS refused,
    countIf(kind = 'decision' AND decision != 'block' AND intended = 'block') AS held_back,
    countIf(kind = 'decision' AND notEmpty(failed_open)) AS failed_open,
    countIf(kind = 'completion') AS completed,
    countIf(kind = 'completion' AND outcome != 'ok') AS failed,
    sum(ifNull(events.tokens_in, 0)) AS tokens_in,
    sum(ifNull(events.tokens_out, 0)) AS tokens_out,
    sum(ifNull(events.bytes_in, 0)) AS bytes_in,
    sum(ifNull(events.bytes_out, 0)) AS bytes_out,
    quantilesTDigestStateIf(0.5, 0.95, 0.99)(assumeNotNull(events.total_us), kind = 'completion' AND isNotNull(events.total_us)) AS total_us
FROM @database@.@events_data@ AS events
GROUP BY hour, tenant, key_id, model;

-- on a cluster: all shards as one.
CREATE TABLE IF NOT EXISTS @database@.usage_hourly@on_cluster@ AS @database@.@usage_data@
ENGINE = Distributed(@cluster@, @database@, @usage_data@);

CREATE TABLE IF NOT EXISTS @database@.@rules_data@@on_cluster@ (
    hour      DateTime('UTC'),
    tenant    LowCardinality(String),
    rule      LowCardinality(String),
    category  LowCardinality(String),
    severity  LowCardinality(String),
    direction LowCardinality(String),
    action    LowCardinality(String),
    events    SimpleAggregateFunction(sum, UInt64) COMMENT 'prompts and answers it was found in',
    findings  SimpleAggregateFunction(sum, UInt64)
)
ENGINE = @aggregating@
PARTITION BY toYYYYMM(hour)
ORDER BY (tenant, hour, rule, category, severity, direction, action)
TTL hour + toIntervalDay(@hourly_days@)
SETTINGS @window@, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS @database@.rules_hourly_fill@on_cluster@ TO @database@.@rules_data@ AS
SELECT
    toStartOfHour(toDateTime(ts, 'UTC')) AS hour,
    tenant,
    rule,
    category,
    severity,
    direction,
    action,
    count() AS events,
    sum(found) AS findings
FROM (
    SELECT
        ts,
        tenant,
        f.1 AS rule,
        f.2 AS category,
        f.3 AS severity,
        f.4 AS direction,
        f.5 AS action,
        f.6 AS found
    FROM @database@.@events_data@
    ARRAY JOIN arrayZip(`findings.rule`, `findings.category`, `findings.severity`, `findings.direction`, `findings.action`, `findings.count`) AS f
)
GROUP BY hour, tenant, rule, category, severity, direction, action;

-- on a cluster: all shards as one.
CREATE TABLE IF NOT EXISTS @database@.rules_hourly@on_cluster@ AS @database@.@rules_data@
ENGINE = Distributed(@cluster@, @database@, @rules_data@);
