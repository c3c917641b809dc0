//! What is asked of ClickHouse: the questions whose answers make up a report, in SQL.
//!
//! Each answer has rows of names and numbers, in the order said at the question; `grouped.rs` takes them in. The words are those of
//! `tally.rs`, which counts the same from single events, and a test holds both to the same numbers.

use crate::{Decision, Severity};

/// What stands before each question: `events`, each once, of the period and the caller asked for, and `of_requests`, without what
/// belongs to no request. `@..@` is set by [`Asked`].
const BEFORE: &str = "WITH
asked AS (SELECT *, @time@ AS at_us FROM events@final@ WHERE @where@),
of_requests AS (
    SELECT *,
        kind = 'completion' AS is_answer,
        if(is_answer, outcome = 'blocked_output', decision = 'block') AS is_blocked,
        multiIf(
            notEmpty(`findings.severity`), arrayMax(word -> indexOf(@severities@, word), `findings.severity`),
            is_answer, 0,
            indexOf(@severities@, severity)
        ) AS worst,
        is_blocked OR (NOT is_answer AND intended = 'block') OR has(`findings.action`, 'block') OR worst >= @high@ AS is_high_risk
    FROM asked WHERE kind NOT IN ('admin', 'policy_change', 'alert')
)
SELECT CAST(names AS Array(String)) AS names, CAST(numbers AS Array(UInt64)) AS numbers FROM (
";
const AFTER: &str = ")";
/// Each event once, also where it was delivered twice and the two are not merged yet. Events of two months never are the same one.
const ONCE: &str = " SETTINGS do_not_merge_across_partitions_select_final = 1";
/// The columns of the stages are called as the stages are, with this behind.
const STAGE_COLUMN: &str = "_us";

/// A question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Kind: events, cut ones, first and last moment.
    Kinds,
    /// Gateway: events.
    Gateways,
    /// Decision, intended decision: day, whether answers, events, blocked ones.
    Days,
    /// Whether answers, worst severity (1 low to 4 critical, 0 none), events, high-risk ones.
    Risks,
    /// Outcome: whether tokens were measured, answers, tokens of prompts, of answers, answers without a count.
    Answers,
    /// Model: requests, blocked, refused, answers, tokens of prompts, of answers.
    Models,
    /// Tenant, key: requests, high-risk, critical, blocked events.
    Callers,
    /// Limit, tenant, key: requests.
    Limits,
    /// Reason, address: requests. Addresses that differ in their ports are one row or several.
    AuthFailures,
    /// Control: requests, minutes, first and last moment.
    FailedOpen,
    /// What the guard model did: requests.
    Guard,
    /// Policy, version, mode: requests, first and last moment.
    Policies,
    /// Rule, category: findings in requests, in answers, events, findings by action, the moment of category and severity, the severity.
    Rules,
    /// Category: findings in requests, in answers, events.
    Categories,
    /// Severity: findings.
    Severities,
    /// Stage: bucket, requests, greatest value.
    Stages,
}

impl Question {
    pub const ALL: [Self; 16] = [
        Self::Kinds,
        Self::Gateways,
        Self::Days,
        Self::Risks,
        Self::Answers,
        Self::Models,
        Self::Callers,
        Self::Limits,
        Self::AuthFailures,
        Self::FailedOpen,
        Self::Guard,
        Self::Policies,
        Self::Rules,
        Self::Categories,
        Self::Severities,
        Self::Stages,
    ];

    /// The question itself; `stages` are those that have a time.
    fn sql(self, stages: &[&str]) -> String {
        let actions: Vec<String> =
            Decision::ALL.iter().take(5).map(|action| format!("sumIf(toUInt64(found), action = '{}')", action.as_str())).collect();
        let sql = match self {
            Self::Kinds => {
                "SELECT [kind] AS names, [count(), countIf(cut), toUInt64(min(at_us)), toUInt64(max(at_us))] AS numbers FROM asked GROUP BY kind"
            }
            Self::Gateways => "SELECT [gateway] AS names, [count()] AS numbers FROM asked GROUP BY gateway",
            Self::Days => {
                "SELECT [decision, intended] AS names, [toUInt64(day), is_answer, count(), countIf(is_blocked)] AS numbers
                 FROM (SELECT decision, intended, is_answer, is_blocked, intDiv(at_us, 86400000000) - (at_us % 86400000000 < 0) AS day FROM of_requests)
                 GROUP BY day, is_answer, decision, intended"
            }
            Self::Risks => {
                "SELECT [] AS names, [toUInt64(is_answer), worst, count(), countIf(is_high_risk)] AS numbers FROM of_requests GROUP BY is_answer, worst"
            }
            Self::Answers => {
                "SELECT [outcome] AS names,
                    [toUInt64(measured), count(), @sum(tokens_in)@, @sum(tokens_out)@, countIf(isNull(tokens_in) AND isNull(tokens_out))] AS numbers
                 FROM (SELECT outcome, tokens_in, tokens_out, tokens_source = 'measured' AS measured FROM of_requests WHERE is_answer)
                 GROUP BY outcome, measured"
            }
            Self::Models => {
                "SELECT [model] AS names,
                    [countIf(NOT is_answer), countIf(is_blocked), countIf(NOT is_answer AND decision = 'refused'), countIf(is_answer),
                     @sum(tokens_of_prompt)@, @sum(tokens_of_answer)@] AS numbers
                 FROM (SELECT model, is_answer, is_blocked, decision, if(is_answer, tokens_in, NULL) AS tokens_of_prompt,
                          if(is_answer, tokens_out, NULL) AS tokens_of_answer FROM of_requests)
                 GROUP BY model ORDER BY count() DESC"
            }
            Self::Callers => {
                "SELECT [tenant, key_id] AS names,
                    [countIf(NOT is_answer), countIf(is_high_risk), countIf(worst = 4), countIf(is_blocked)] AS numbers
                 FROM of_requests WHERE key_id != '' GROUP BY tenant, key_id ORDER BY count() DESC"
            }
            Self::Limits => {
                "SELECT [outcome, tenant, key_id] AS names, [count()] AS numbers
                 FROM of_requests WHERE kind = 'limit' GROUP BY outcome, tenant, key_id ORDER BY count() DESC"
            }
            // An address is cut off its port here only where that is one for certain; `tally.rs` does the rest.
            Self::AuthFailures => {
                "SELECT [outcome, any(client_addr)] AS names, [count()] AS numbers
                 FROM (
                    SELECT outcome, client_addr,
                        extract(client_addr, ':([0-9]{1,5})$') AS port,
                        substring(client_addr, 1, length(client_addr) - length(port) - 1) AS before,
                        isIPv4String(before) OR (match(before, '^\\\\[.*]$') AND isIPv6String(substring(before, 2, length(before) - 2))) AS is_address,
                        is_address AND port != '' AND toUInt32OrZero(port) <= 65535 AS has_port,
                        if(has_port, before, client_addr) AS host
                    FROM of_requests WHERE kind = 'auth_failure'
                 ) GROUP BY outcome, has_port, host ORDER BY count() DESC"
            }
            Self::FailedOpen => {
                "SELECT [control] AS names, [count(), uniqExact(intDiv(at_us, 60000000) - (at_us % 60000000 < 0)), toUInt64(min(at_us)), toUInt64(max(at_us))] AS numbers
                 FROM (SELECT at_us, arrayJoin(arrayDistinct(failed_open)) AS control FROM of_requests WHERE kind = 'decision' AND notEmpty(failed_open))
                 GROUP BY control ORDER BY count() DESC"
            }
            Self::Guard => "SELECT [guard_state] AS names, [count()] AS numbers FROM of_requests WHERE kind = 'decision' GROUP BY guard_state",
            Self::Policies => {
                "SELECT [policy, policy_version, mode] AS names, [count(), toUInt64(min(at_us)), toUInt64(max(at_us))] AS numbers
                 FROM of_requests WHERE kind = 'decision' GROUP BY policy, policy_version, mode ORDER BY count() DESC"
            }
            Self::Rules => {
                "SELECT [rule, last.3] AS names,
                    [in_requests, in_answers, events, by_action[1], by_action[2], by_action[3], by_action[4], by_action[5], toUInt64(last.1), last.2] AS numbers
                 FROM (
                    SELECT rule, sumIf(toUInt64(found), direction = 'request') AS in_requests, sumIf(toUInt64(found), direction != 'request') AS in_answers,
                        countIf(nth = 1) AS events, [@actions@] AS by_action,
                        max((at_us, toUInt64(indexOf(@severities@, severity)), toString(category))) AS last
                    FROM (
                        SELECT at_us, f.1 AS rule, f.2 AS category, f.3 AS severity, f.4 AS direction, f.5 AS action, f.6 AS found, f.7 AS nth
                        FROM of_requests
                        ARRAY JOIN arrayZip(`findings.rule`, `findings.category`, `findings.severity`, `findings.direction`, `findings.action`,
                            `findings.count`, arrayEnumerateUniq(`findings.rule`)) AS f
                    ) GROUP BY rule
                 ) ORDER BY in_requests + in_answers DESC"
            }
            Self::Categories => {
                "SELECT [category] AS names,
                    [sumIf(toUInt64(found), direction = 'request'), sumIf(toUInt64(found), direction != 'request'), countIf(nth = 1)] AS numbers
                 FROM (
                    SELECT f.1 AS category, f.2 AS direction, f.3 AS found, f.4 AS nth FROM of_requests
                    ARRAY JOIN arrayZip(`findings.category`, `findings.direction`, `findings.count`, arrayEnumerateUniq(`findings.category`)) AS f
                 ) GROUP BY category ORDER BY numbers[1] + numbers[2] DESC"
            }
            Self::Severities => {
                "SELECT [severity] AS names, [sum(toUInt64(found))] AS numbers
                 FROM (SELECT f.1 AS severity, f.2 AS found FROM of_requests ARRAY JOIN arrayZip(`findings.severity`, `findings.count`) AS f)
                 GROUP BY severity"
            }
            Self::Stages => return stages.iter().map(|stage| stage_sql(stage)).collect::<Vec<_>>().join("\nUNION ALL\n"),
        };
        // A sum that does not wrap: tokens are what an upstream says.
        let sum = |column: &str| format!("toUInt64(least(sum(toUInt128(ifNull({column}, 0))), toUInt128(18446744073709551615)))");
        ["tokens_in", "tokens_out", "tokens_of_prompt", "tokens_of_answer"]
            .into_iter()
            .fold(sql.replace("@actions@", &actions.join(", ")), |sql, column| sql.replace(&format!("@sum({column})@"), &sum(column)))
    }
}

/// The buckets of [`Histogram`](super::Histogram): with `s` the bits of a value beyond seven, `s * 64 + (value >> s)`.
fn stage_sql(stage: &str) -> String {
    format!(
        "SELECT ['{stage}'] AS names, [toUInt64(bucket), count(), max(value)] AS numbers
         FROM (
            SELECT assumeNotNull({stage}{STAGE_COLUMN}) AS value, toUInt8(bitCount(greatest(roundToExp2(value), 64) - 1) - 6) AS s,
                toUInt16(s * 64 + bitShiftRight(value, s)) AS bucket
            FROM of_requests WHERE isNotNull({stage}{STAGE_COLUMN})
         ) GROUP BY bucket"
    )
}

/// How the questions are put: of which events, and how these are read.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    /// The condition on an event, with a `?` for each value.
    pub condition: String,
    /// An event's moment, microseconds since 1970.
    pub time: &'static str,
    /// Whether some events stand there twice.
    pub repeated: bool,
}

impl Asked {
    /// The whole text of a question.
    pub fn sql(&self, question: Question, stages: &[&str]) -> String {
        self.around(&question.sql(stages))
    }

    /// How many events there are and the sum of their numbers: what changes when events come or go.
    pub fn stamp_sql(&self) -> String {
        self.around("SELECT [] AS names, [count(), sum(seq)] AS numbers FROM asked")
    }

    /// By store, the highest number that is there.
    pub fn stores_sql(&self) -> String {
        self.around("SELECT [store_id] AS names, [max(seq)] AS numbers FROM asked GROUP BY store_id")
    }

    fn around(&self, question: &str) -> String {
        let words: Vec<String> = Severity::ALL.iter().map(|severity| format!("'{}'", severity.as_str())).collect();
        let (last, settings) = if self.repeated { (" FINAL", ONCE) } else { ("", "") };
        let whole = format!("{BEFORE}{question}\n{AFTER}{settings}");
        whole
            .replace("@severities@", &format!("[{}]", words.join(", ")))
            .replace("@high@", &(Severity::High as usize + 1).to_string())
            .replace("@time@", self.time)
            .replace("@final@", last)
            .replace("@where@", &self.condition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_unset_and_only_values_are_asked_for() {
        let asked = Asked { condition: "tenant = ?".into(), time: "toUnixTimestamp64Micro(ts)", repeated: true };
        for question in Question::ALL {
            let sql = asked.sql(question, &["total"]);
            assert!(!sql.contains('@'), "{sql}");
            assert_eq!(sql.matches('?').count(), 1, "{sql}");
        }
    }
}
