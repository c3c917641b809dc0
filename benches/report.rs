//! The measured as Markdown: what ran where, the table, and what the gateway says of its own stages.

use std::process::Command;

use harness::{Metrics, repository};

use crate::load::{Load, Measured};

/// One point, once straight to the backend and once through the gateway.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which gateway.
    pub variant: &'static str,
    /// How requests came.
    pub load: Load,
    /// Straight to the backend.
    pub direct: Measured,
    /// Through the gateway.
    pub gateway: Measured,
    /// Memory the gateway held afterwards, bytes.
    pub resident_bytes: u64,
}

/// Says what ran where and when.
pub fn machine(command: &str) -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpus.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let changed = if output("git", &["status", "--porcelain"]).is_empty() { "" } else { ", with changes not committed" };
    format!(
        "- date: {}\n- machine: {model}, {cores} cores, Linux {}\n- commit: {}{changed}\n- command: `{command}`\n",
        output("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
        output("uname", &["-r"]),
        output("git", &["rev-parse", "--short=12", "HEAD"]),
    )
}

fn output(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).current_dir(repository()).output();
    ran.map_or_else(|_| "unknown".into(), |ran| String::from_utf8_lossy(&ran.stdout).trim().to_owned())
}

/// The table of all points. Latencies in milliseconds; `added` is the difference of the quantiles.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| gateway | load | direct p50 | direct p99 | gateway p50 | gateway p99 | added p50 | added p99 | direct req/s | gateway req/s | errors | RSS MiB |\n|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for Row { variant, load, direct, gateway, resident_bytes } in rows {
        let load = match load {
            Load::Closed { connections } => format!("closed, {connections} connections"),
            Load::Open { per_second } => format!("open, {per_second}/s"),
        };
        let saturated = if gateway.saturated { " (saturated)" } else { "" };
        let [d50, d99, g50, g99] = [direct.quantile_ms(0.5), direct.quantile_ms(0.99), gateway.quantile_ms(0.5), gateway.quantile_ms(0.99)];
        let (added50, added99) = (g50 - d50, g99 - d99);
        let (per_direct, per_gateway, errors) = (direct.per_second(), gateway.per_second(), direct.errors + gateway.errors);
        let mib = *resident_bytes as f64 / f64::from(1 << 20);
        text.push_str(&format!(
            "| {variant} | {load}{saturated} | {d50:.2} | {d99:.2} | {g50:.2} | {g99:.2} | **{added50:.2}** | **{added99:.2}** | {per_direct:.0} | {per_gateway:.0} | {errors} | {mib:.0} |\n",
        ));
    }
    text
}

/// What the gateway itself measured: each stage's mean and quantiles (upper bounds of its buckets), and the audit store's numbers.
pub fn stages(metrics: &Metrics) -> String {
    let mut text = String::from("| stage | count | mean ms | p50 ms <= | p99 ms <= |\n|---|--:|--:|--:|--:|\n");
    for (labels, count) in metrics.samples("portcullis_stage_seconds_count") {
        let Some(stage) = labels.get("stage").filter(|_| *count > 0.0) else { continue };
        let only = [("stage", stage.as_str())];
        let mean = metrics.sum("portcullis_stage_seconds_sum", &only) / count * 1000.0;
        let quantile = |part: f64| {
            let buckets = metrics.samples("portcullis_stage_seconds_bucket").iter().filter(|(have, _)| have.get("stage") == Some(stage));
            let mut reached: Vec<f64> =
                buckets.filter(|(_, below)| *below >= count * part).filter_map(|(have, _)| have["le"].parse::<f64>().ok()).collect();
            reached.sort_by(f64::total_cmp);
            reached.first().map_or_else(|| "?".into(), |bound| format!("{:.3}", bound * 1000.0))
        };
        text.push_str(&format!("| {stage} | {count} | {mean:.3} | {} | {} |\n", quantile(0.5), quantile(0.99)));
    }
    text.push_str("\nAudit store:");
    for name in metrics.names().into_iter().filter(|name| name.starts_with("portcullis_audit_")) {
        text.push_str(&format!(" `{name}` {}", metrics.sum(name, &[])));
    }
    text.push('\n');
    text
}
