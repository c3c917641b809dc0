-- Version 3: which version of the guard model judged, and the known attack a text came nearest to; bodies compressed at less cost.
--
-- Rows from before have both out of their body. What is compressed already stays as it is; what is written or merged from now on is not
-- held back by it: at level 3 it was what took an insert longest.
ALTER TABLE @database@.@events_data@@on_cluster@
    ADD COLUMN IF NOT EXISTS guard_version LowCardinality(String) DEFAULT JSONExtractString(body, 'guard', 'version') COMMENT 'name and version of the guard model' AFTER guard_score,
    ADD COLUMN IF NOT EXISTS known_attack LowCardinality(String) DEFAULT JSONExtractString(body, 'guard', 'known', 'id') COMMENT 'id of the known attack that a text came nearest to' AFTER guard_version,
    MODIFY COLUMN body CODEC(ZSTD(1));

-- on a cluster: the table before it has no values of its own.
ALTER TABLE @database@.events@on_cluster@
    ADD COLUMN IF NOT EXISTS guard_version LowCardinality(String) DEFAULT JSONExtractString(body, 'guard', 'version') AFTER guard_score,
    ADD COLUMN IF NOT EXISTS known_attack LowCardinality(String) DEFAULT JSONExtractString(body, 'guard', 'known', 'id') AFTER guard_version;

CREATE OR REPLACE VIEW @database@.events_read@on_cluster@ AS
SELECT *, sealed_prompt, sealed_answer FROM @database@.events FINAL
SETTINGS do_not_merge_across_partitions_select_final = 1;
