-- Which migrations were applied. Runs every time.
CREATE DATABASE IF NOT EXISTS @database@@on_cluster@;

CREATE TABLE IF NOT EXISTS @database@.@migrations_data@@on_cluster@ (
    version UInt32,
    name    String,
    applied DateTime('UTC') DEFAULT now()
)
ENGINE = @plain@
ORDER BY version;

-- on a cluster: one row on one shard is enough.
CREATE TABLE IF NOT EXISTS @database@.schema_migrations@on_cluster@ AS @database@.@migrations_data@
ENGINE = Distributed(@cluster@, @database@, @migrations_data@, 1);
