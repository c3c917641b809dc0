//! The head of a report, and how its numbers are made, in words.

use super::chain::{ChainProof, Standing};
use super::document::Cell;
use super::style::{Lang, count, moment};
use super::{Answer, Form, NAMES_MAX, Scope};

/// Gateways and policy versions named in the head.
const NAMED: usize = 12;

/// The head: id, name, value.
pub(super) fn facts(scope: &Scope, answer: &Answer, form: &Form<'_>) -> Vec<(&'static str, String, Cell)> {
    let lang = form.lang;
    let t = |en: &'static str, zh: &'static str| lang.say(en, zh).to_owned();
    let report = &answer.report;
    let joined = |names: Vec<String>| {
        let more = names.len().saturating_sub(NAMED);
        let shown = names.into_iter().take(NAMED).collect::<Vec<_>>().join(", ");
        Cell::Name(if more > 0 { format!("{shown}, + {more}") } else { shown })
    };
    let all = || t("all", "全部");
    let mut facts = vec![
        ("from", t("From (UTC)", "起（UTC）"), Cell::Moment(scope.period.from_us)),
        ("to", t("To, not included (UTC)", "止（不含，UTC）"), Cell::Moment(scope.period.to_us)),
        ("tenant", t("Tenant", "租户"), scope.tenant.clone().map_or_else(|| Cell::Words(all()), Cell::Name)),
        ("key_id", t("Key", "密钥"), scope.key_id.clone().map_or_else(|| Cell::Words(all()), Cell::Name)),
        ("gateways", t("Gateways", "网关"), joined(report.gateways.iter().map(|row| row.name.clone()).collect())),
        (
            "policy_versions",
            t("Policy versions in force", "生效的策略版本"),
            joined(report.policies.iter().map(|row| format!("{} {}", row.policy, row.version)).collect()),
        ),
    ];
    if let Some(catalogue) = form.catalogue {
        let same = report.policies.iter().all(|row| catalogue.versions.contains(&row.version));
        let versions = catalogue.versions.join(", ");
        let words = if same {
            versions
        } else {
            format!(
                "{versions} {}",
                lang.say(
                    "(other versions were in force too: their rules may have had other tags)",
                    "（期间还有其他版本生效：其规则标签可能不同）"
                )
            )
        };
        facts.push(("framework_policies", t("Frameworks by the tags of", "框架分组依据的策略版本"), Cell::Name(words)));
    }
    if let Some(chain) = &answer.chain {
        facts.push(("store", t("Store", "存储"), Cell::Name(chain.store_id.clone())));
        facts.push(("chain", t("Chain of events", "事件链"), Cell::Words(chain.standing.as_str().into())));
        facts.push(("chain_in_words", t("What was proven", "已证明的内容"), Cell::Words(proven(chain, lang))));
        facts.push(("public_keys", t("Public keys", "公钥"), Cell::Name(chain.keys.join(" "))));
    } else {
        let words = t(
            "not checked: counted in ClickHouse; --source store checks the chain",
            "未检查：数字来自 ClickHouse；--source store 会检查事件链",
        );
        facts.push(("chain", t("Chain of events", "事件链"), Cell::Words(words)));
    }
    facts.push(("generated", t("Made (UTC)", "生成时间（UTC）"), Cell::Moment(form.made_us)));
    facts.push(("program", t("Made by", "生成程序"), Cell::Words(format!("portcullis {}", env!("CARGO_PKG_VERSION")))));
    facts
}

/// What was proven of the chain, and what was not.
pub(super) fn proven(chain: &ChainProof, lang: Lang) -> String {
    let range = |ends: Option<i64>| ends.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
    let span = format!("{}..{}", range(chain.first), range(chain.last));
    let (checked, signed) = (count(chain.checked), range(chain.signed_to));
    let unsigned = count(chain.unsigned);
    let mut text = match (chain.standing, lang) {
        (Standing::Proven, Lang::En) => {
            format!("{checked} events (seq {span}) fit together; signed checkpoints confirm those of the period, up to seq {signed}.")
        }
        (Standing::Proven, Lang::Zh) => {
            format!("{checked} 个事件（seq {span}）前后一致；签名检查点确认了期间内的全部事件，至 seq {signed}。")
        }
        (Standing::PartlySigned, Lang::En) => format!(
            "{checked} events (seq {span}) fit together; signed checkpoints confirm them up to seq {signed}. The last {unsigned} of the period are \
             chained and NOT signed yet."
        ),
        (Standing::PartlySigned, Lang::Zh) => {
            format!("{checked} 个事件（seq {span}）前后一致；签名检查点确认至 seq {signed}。期间最后 {unsigned} 个事件已链接但尚未签名。")
        }
        (Standing::Unproven, Lang::En) => {
            format!("NOT PROVEN: {checked} events (seq {span}) fit together, but no signed checkpoint confirms those of the period.")
        }
        (Standing::Unproven, Lang::Zh) => format!("未证明：{checked} 个事件（seq {span}）前后一致，但没有签名检查点确认期间内的事件。"),
        (Standing::Empty, Lang::En) => "No event, and nothing says that there was one.".into(),
        (Standing::Empty, Lang::Zh) => "没有事件，也没有迹象表明曾有事件。".into(),
        (Standing::Tampered, Lang::En) => {
            format!("TAMPERED: {} problems in {checked} events (seq {span}). {}", chain.problem_count, chain.problems.join("; "))
        }
        (Standing::Tampered, Lang::Zh) => {
            format!("已被篡改：{checked} 个事件（seq {span}）中有 {} 处问题。{}", chain.problem_count, chain.problems.join("; "))
        }
    };
    let mut also = |en: String, zh: String| text.push_str(&format!(" {}", lang.say(&en, &zh)));
    if let Some((seq, time_us)) = chain.removed {
        let time = moment(time_us);
        also(
            format!("Retention removed the events up to seq {seq} (last on {time}); those of the period among them are in no number."),
            format!("留存策略已删除 seq {seq} 及之前的事件（最近于 {time}）；其中属于本期间的不在任何数字中。"),
        );
    }
    if chain.unreadable > 0 {
        let unreadable = count(chain.unreadable);
        also(format!("{unreadable} events cannot be read and are in no number."), format!("{unreadable} 个事件无法读取，不在任何数字中。"));
    }
    if chain.unreadable_lines > 0 {
        let lines = count(chain.unreadable_lines);
        also(format!("{lines} lines of the checkpoint file are none."), format!("检查点文件中有 {lines} 行无法识别。"));
    }
    if chain.keys_self_named && chain.standing != Standing::Empty {
        also(
            "The keys are those the store names itself: someone who could write the store and sign anew is not ruled out; give --public-key."
                .into(),
            "公钥由存储自身给出：不能排除可改写存储并重新签名者；请提供 --public-key。".into(),
        );
    }
    also(
        "Events before and after this range were not looked at: `portcullis audit verify` checks the whole store, also for events whose \
         stored time was changed to move them out of the period."
            .into(),
        "此范围之外的事件未检查：`portcullis audit verify` 检查整个存储，包括被改动时间而移出期间的事件。".into(),
    );
    text
}

/// How the numbers are made: subject, words.
pub(super) fn method(lang: Lang) -> Vec<(String, String)> {
    let names = count(NAMES_MAX as u64);
    let all = [
        ("Period", "期间", "An event belongs to the period by its own time: from the first moment on, before the last. All times are UTC.".to_owned(), "事件按自身时间归入期间：含起始时刻，不含结束时刻。时间均为 UTC。".to_owned()),
        ("Requests and answers", "请求与回答", "Each request that reached the gateway has exactly one event that answers it (decision, rejected, auth_failure, limit); each that was forwarded has one completion when it ends: an answer. A request near an edge of the period may have its answer outside it.".into(), "到达网关的每个请求恰有一个应答事件（decision、rejected、auth_failure、limit）；已转发的请求结束时有一个 completion，即回答。靠近期间边缘的请求，其回答可能在期间之外。".into()),
        ("Decisions", "处置", "Of a request: what was done with it before it was forwarded. Of an answer: the strongest over both ways. Intended: what mode enforce would have done.".into(), "请求：转发前的处置。回答：双向中最强的处置。intended：enforce 模式下会采取的处置。".into()),
        ("Findings", "发现", "Every place where a rule matched counts. An event keeps 128 records of findings; the totals say of how many events something was cut. Severity of an event is that of its worst finding.".into(), "规则每匹配一处计一次。每个事件至多保留 128 条发现记录；总计中列出被截断的事件数。事件的严重程度取其最严重的发现。".into()),
        ("High-risk", "高风险", "A request or an answer whose worst finding is high or critical, or whose text was blocked or would have been by mode enforce. Callers are in the order of such events, then critical ones, then requests.".into(), "最严重发现为 high 或 critical，或文本已被（或在 enforce 模式下会被）拦截的请求或回答。调用方依此类事件数、critical 数、请求数排序。".into()),
        ("Models, addresses and other names", "模型、地址等名称", format!("As clients wrote them, with invisible characters escaped. Of a table {names} names are counted one by one, further ones together: the first ones in the store, the most frequent ones in ClickHouse."), format!("按客户端所写，不可见字符已转义。每张表逐一统计 {names} 个名称（存储中为最先出现的，ClickHouse 中为最常见的），其余合并。")),
        ("Fail-open", "失效放行", "Requests that passed although a control had failed, because the policy allows it, and the minutes (UTC) in which there was at least one.".into(), "控制失效而策略允许放行的请求数，以及至少出现一次的分钟数（UTC）。".into()),
        ("Latencies", "延迟", "Percentiles come from 64 buckets in each power of two and are the upper bound of their bucket: never below the true value, above it by less than 1/64. The longest is exact.".into(), "百分位数取自每个二次幂 64 个桶的上界：不低于真实值，高出不足 1/64。最长值为精确值。".into()),
        ("Tokens", "Token", "Of answers, as the upstream's usage says (measured) or as the gateway estimates.".into(), "回答的用量：上游 usage（measured）或网关估计（estimated）。".into()),
        ("Policy versions", "策略版本", "By the version in each decision: the first and the last request that it decided in the period.".into(), "依每个决定中的版本：期间内由其处置的首个与末个请求。".into()),
        ("Frameworks", "合规框架", "By the tags of the rules in the policies named in the head. A control with findings is one whose rules matched. A rule that bears several tags counts for each. No row says that a control is met.".into(), "依页首所列策略中规则的标签。有发现的控制项即其规则有匹配。带多个标签的规则分别计入。任何一行都不表示控制要求已满足。".into()),
        ("Chain", "事件链", "The hashes of the events from the neighbour before the period to the first signed checkpoint after it were computed anew and compared, with those of all tenants; so were the columns beside them.".into(), "从期间前的相邻事件到其后首个签名检查点，重新计算并比较了所有租户事件的哈希及旁列。".into()),
    ];
    all.into_iter().map(|(en, zh, text_en, text_zh)| (lang.say(en, zh).to_owned(), lang.say(&text_en, &text_zh).to_owned())).collect()
}
