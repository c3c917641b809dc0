//! A report as titled tables in one language, before it takes the form of text, CSV or HTML.

use super::frameworks::{Coverage, coverage};
use super::style::{Lang, count, duration, moment, visible};
use super::titles;
use super::words;
use super::{Answer, Form, Report, Scope};
use crate::event::rfc3339;

/// A value of a table.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    /// From the record: nobody vouches for it.
    Name(String),
    /// Our own.
    Words(String),
    /// Our own: what it is called for people, and its id for programs.
    Item(String, &'static str),
    Count(u64),
    /// Microseconds since 1970.
    Moment(i64),
    /// Microseconds.
    Duration(u64),
}

impl Cell {
    /// For people.
    pub fn shown(&self) -> String {
        match self {
            Self::Name(name) => visible(name),
            Self::Words(words) | Self::Item(words, _) => words.clone(),
            Self::Count(number) => count(*number),
            Self::Moment(time_us) => moment(*time_us),
            Self::Duration(micros) => duration(*micros),
        }
    }

    /// For programs.
    pub fn plain(&self) -> String {
        match self {
            Self::Name(name) if name.is_empty() => String::new(),
            Self::Name(name) => visible(name),
            Self::Words(words) => words.clone(),
            Self::Item(_, id) => (*id).to_owned(),
            Self::Count(number) | Self::Duration(number) => number.to_string(),
            Self::Moment(time_us) => rfc3339(*time_us),
        }
    }
}

pub(super) struct Column {
    /// The same in every language.
    pub id: &'static str,
    pub title: String,
    pub is_number: bool,
}

pub(super) struct Section {
    /// The same in every language.
    pub id: &'static str,
    pub title: String,
    pub note: Option<String>,
    pub columns: Vec<Column>,
    /// How many of the columns, the first ones, say what a row is about; three at most.
    pub names: usize,
    pub rows: Vec<Vec<Cell>>,
}

pub(super) struct Document {
    pub lang: Lang,
    pub title: String,
    /// The head: what, when, whose, how proven.
    pub facts: Vec<(String, Cell)>,
    /// Their ids, the same in every language.
    pub fact_ids: Vec<&'static str>,
    pub sections: Vec<Section>,
    /// How the numbers are made.
    pub method: Vec<(String, String)>,
}

impl Document {
    pub fn new(scope: &Scope, answer: &Answer, form: &Form<'_>) -> Self {
        let lang = form.lang;
        let facts = words::facts(scope, answer, form);
        let mut sections = figures(&answer.report, lang);
        match form.catalogue {
            Some(catalogue) => sections.extend(frameworks(answer, form, catalogue)),
            None => sections.push(section("frameworks", lang.say("Frameworks", "合规框架"), vec![], 0).note(lang.say(
                "not grouped: no policy was given, so the tags of rules are not known; give --policy or --config",
                "未分组：没有给出策略，规则标签未知；请使用 --policy 或 --config",
            ))),
        }
        Self {
            lang,
            title: lang.say("Portcullis: compliance report", "Portcullis 合规报告").to_owned(),
            fact_ids: facts.iter().map(|(id, ..)| *id).collect(),
            facts: facts.into_iter().map(|(_, name, value)| (name, value)).collect(),
            sections,
            method: words::method(lang),
        }
    }
}

impl Section {
    fn note(mut self, note: &str) -> Self {
        self.note = Some(note.to_owned());
        self
    }

    fn rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        self.rows.extend(rows);
        self
    }
}

fn section(id: &'static str, title: &str, columns: Vec<(&'static str, &str)>, names: usize) -> Section {
    let columns =
        columns.into_iter().enumerate().map(|(index, (id, title))| Column { id, title: title.to_owned(), is_number: index >= names });
    Section { id, title: title.to_owned(), note: None, columns: columns.collect(), names, rows: Vec::new() }
}

fn name(name: &str) -> Cell {
    Cell::Name(name.to_owned())
}

fn words(word: &str) -> Cell {
    Cell::Words(word.to_owned())
}

fn figures(report: &Report, lang: Lang) -> Vec<Section> {
    let t = |en, zh| lang.say(en, zh);
    let (requests, answers) = (("requests", t("requests", "请求")), ("answers", t("answers", "回答")));
    let findings =
        [("in_requests", t("in requests", "请求中")), ("in_answers", t("in answers", "回答中")), ("events", t("events", "事件数"))];
    let totals = [
        ("events", t("events on record", "记录的事件"), report.events),
        ("requests", t("requests", "请求"), report.requests),
        ("answers", t("answers (forwarded requests that ended)", "回答（已转发并结束的请求）"), report.answers),
        ("high_risk", t("high-risk requests and answers", "高风险请求与回答"), report.high_risk),
        ("callers", t("callers with a known key", "已知密钥的调用方"), report.callers_total),
        ("cut", t("events with parts cut to their bound", "部分内容因超限被截断的事件"), report.cut),
    ];
    let mut sections =
        vec![
            section("totals", t("Totals", "总计"), vec![("item", t("item", "项目")), ("count", t("count", "数量"))], 1)
                .rows(totals.into_iter().map(|(id, title, number)| vec![Cell::Item(title.to_owned(), id), Cell::Count(number)])),
            section(
                "decisions",
                t("By decision", "按处置"),
                vec![
                    ("decision", t("decision", "处置")),
                    requests,
                    ("answers", t("answers, both ways", "回答（双向）")),
                    ("intended", t("intended by enforce", "enforce 模式下的处置")),
                ],
                1,
            )
            .rows(report.decisions.iter().map(|row| {
                vec![words(row.decision.as_str()), Cell::Count(row.requests), Cell::Count(row.answers), Cell::Count(row.intended)]
            })),
            section(
                "days",
                t("By day (UTC)", "按日（UTC）"),
                [
                    vec![("day", t("day", "日期"))],
                    crate::Decision::ALL.iter().map(|decision| (decision.as_str(), decision.as_str())).collect(),
                    vec![("blocked_answers", t("blocked answers", "被拦截的回答"))],
                ]
                .concat(),
                1,
            )
            .rows(report.days.iter().map(|row| {
                let counts = row.decisions.iter().chain([&row.blocked_answers]).map(|number| Cell::Count(*number));
                std::iter::once(words(&row.day)).chain(counts).collect()
            })),
            section(
                "severities",
                t("By severity", "按严重程度"),
                vec![("severity", t("severity", "严重程度")), ("findings", t("findings", "发现")), requests, answers],
                1,
            )
            .rows(report.severities.iter().map(|row| {
                vec![words(row.severity.as_str()), Cell::Count(row.findings), Cell::Count(row.requests), Cell::Count(row.answers)]
            })),
            section(
                "categories",
                t("Findings by category", "按类别的发现"),
                [vec![("category", t("category", "类别"))], findings.to_vec()].concat(),
                1,
            )
            .rows(
                report.categories.iter().map(|row| {
                    vec![name(&row.category), Cell::Count(row.in_requests), Cell::Count(row.in_answers), Cell::Count(row.events)]
                }),
            ),
            section(
                "rules",
                t("Findings by rule", "按规则的发现"),
                [
                    vec![("rule", t("rule", "规则")), ("category", t("category", "类别")), ("severity", t("severity", "严重程度"))],
                    findings.to_vec(),
                    crate::Decision::ALL[..5].iter().map(|action| (action.as_str(), action.as_str())).collect(),
                ]
                .concat(),
                3,
            )
            .rows(report.rules.iter().map(|row| {
                let counts = [row.in_requests, row.in_answers, row.events].into_iter().chain(row.actions).map(Cell::Count);
                [name(&row.rule), name(&row.category), words(row.severity.as_str())].into_iter().chain(counts).collect()
            })),
            section(
                "models",
                t("By model", "按模型"),
                vec![
                    ("model", t("model asked for", "请求的模型")),
                    requests,
                    ("blocked", t("blocked", "拦截")),
                    ("refused", t("refused", "拒绝")),
                    answers,
                    ("tokens_in", t("tokens in", "输入 token")),
                    ("tokens_out", t("tokens out", "输出 token")),
                ],
                1,
            )
            .rows(report.models.iter().map(|row| {
                let counts = [row.requests, row.blocked, row.refused, row.answers, row.tokens_in, row.tokens_out].map(Cell::Count);
                std::iter::once(name(&row.model)).chain(counts).collect()
            })),
            section(
                "callers",
                t("Callers with the most high-risk events", "高风险事件最多的调用方"),
                vec![
                    ("tenant", t("tenant", "租户")),
                    ("key_id", t("key", "密钥")),
                    requests,
                    ("high_risk", t("high-risk", "高风险")),
                    ("critical", t("critical", "严重")),
                    ("blocked", t("blocked", "拦截")),
                ],
                2,
            )
            .rows(report.callers.iter().map(|row| {
                let counts = [row.requests, row.high_risk, row.critical, row.blocked].map(Cell::Count);
                [name(&row.tenant), name(&row.key_id)].into_iter().chain(counts).collect()
            })),
            section(
                "limits",
                t("Limit violations", "超出限额"),
                vec![("limit", t("limit", "限额")), ("tenant", t("tenant", "租户")), ("key_id", t("key", "密钥")), requests],
                3,
            )
            .rows(report.limits.iter().map(|row| vec![name(&row.limit), name(&row.tenant), name(&row.key_id), Cell::Count(row.count)])),
            section("auth_failures", t("Authentication failures", "认证失败"), vec![("reason", t("reason", "原因")), requests], 1)
                .note(t(
                    "strangers' refusals beyond a rate per address are counted in a metric and not recorded",
                    "未知调用方超过单地址速率的拒绝只计入指标，不记录",
                ))
                .rows(report.auth_failures.iter().map(|row| vec![name(&row.name), Cell::Count(row.count)])),
            section(
                "auth_addresses",
                t("Authentication failures by address", "按地址的认证失败"),
                vec![("address", t("address", "地址")), requests],
                1,
            )
            .rows(report.auth_addresses.iter().map(|row| vec![name(&row.address), Cell::Count(row.count)])),
            section(
                "failed_open",
                t("Controls that failed open", "失效放行的控制"),
                vec![
                    ("control", t("control", "控制")),
                    requests,
                    ("minutes", t("minutes", "分钟")),
                    ("first", t("first (UTC)", "首次（UTC）")),
                    ("last", t("last (UTC)", "末次（UTC）")),
                ],
                1,
            )
            .rows(report.failed_open.iter().map(|row| {
                vec![
                    name(&row.control),
                    Cell::Count(row.requests),
                    Cell::Count(row.minutes),
                    Cell::Moment(row.first_us),
                    Cell::Moment(row.last_us),
                ]
            })),
        ];
    sections.extend(operation(report, lang));
    sections
}

fn operation(report: &Report, lang: Lang) -> Vec<Section> {
    let t = |en, zh| lang.say(en, zh);
    let requests = ("requests", t("requests", "请求"));
    let guard = report.guard;
    let guard = [("scored", guard.scored), ("skipped", guard.skipped), ("unavailable", guard.unavailable)];
    let tokens = report.tokens;
    let tokens = [("measured", tokens.measured_in, tokens.measured_out), ("estimated", tokens.estimated_in, tokens.estimated_out)];
    vec![
        section("guard", t("Guard model", "守护模型"), vec![("state", t("state", "状态")), requests], 1)
            .rows(guard.into_iter().map(|(state, number)| vec![words(state), Cell::Count(number)])),
        section(
            "latencies",
            t("Latency by stage", "各阶段延迟"),
            vec![
                ("stage", t("stage", "阶段")),
                ("count", t("count", "数量")),
                ("p50_us", "p50"),
                ("p95_us", "p95"),
                ("p99_us", "p99"),
                ("max_us", t("longest", "最长")),
            ],
            1,
        )
        .note(t("percentiles are never below the true value and above it by less than 1.6 %", "百分位数不低于真实值，且高出不足 1.6 %"))
        .rows(report.stages.iter().map(|row| {
            let times = [row.p50, row.p95, row.p99, row.max].map(Cell::Duration);
            [words(row.stage), Cell::Count(row.count)].into_iter().chain(times).collect()
        })),
        section(
            "tokens",
            t("Tokens", "Token"),
            vec![("source", t("source", "来源")), ("tokens_in", t("in", "输入")), ("tokens_out", t("out", "输出"))],
            1,
        )
        .rows(tokens.into_iter().map(|(source, prompt, answer)| vec![words(source), Cell::Count(prompt), Cell::Count(answer)])),
        section(
            "outcomes",
            t("How answers ended", "回答的结束方式"),
            vec![("outcome", t("outcome", "结果")), ("answers", t("answers", "回答"))],
            1,
        )
        .rows(report.outcomes.iter().map(|row| vec![name(&row.name), Cell::Count(row.count)])),
        section(
            "policies",
            t("Policy versions in force", "生效的策略版本"),
            vec![
                ("policy", t("policy", "策略")),
                ("version", t("version", "版本")),
                ("mode", t("mode", "模式")),
                ("first", t("first request (UTC)", "首个请求（UTC）")),
                ("last", t("last request (UTC)", "末个请求（UTC）")),
                requests,
            ],
            3,
        )
        .rows(report.policies.iter().map(|row| {
            let mode = row.mode.map_or("-", |mode| mode.as_str());
            vec![
                name(&row.policy),
                name(&row.version),
                words(mode),
                Cell::Moment(row.first_us),
                Cell::Moment(row.last_us),
                Cell::Count(row.requests),
            ]
        })),
        section("gateways", t("Gateways", "网关"), vec![("gateway", t("gateway", "网关")), ("events", t("events", "事件"))], 1)
            .rows(report.gateways.iter().map(|row| vec![name(&row.name), Cell::Count(row.count)])),
        section("kinds", t("Events by kind", "按事件种类"), vec![("kind", t("kind", "种类")), ("events", t("events", "事件"))], 1)
            .rows(report.kinds.iter().map(|row| vec![words(&row.name), Cell::Count(row.count)])),
    ]
}

fn frameworks(answer: &Answer, form: &Form<'_>, catalogue: &super::Catalogue) -> Vec<Section> {
    let lang = form.lang;
    let t = |en, zh| lang.say(en, zh);
    let columns = || {
        vec![
            ("control", t("control", "控制项")),
            ("title", t("title", "名称")),
            ("coverage", t("coverage", "覆盖")),
            ("rules", t("rules", "规则")),
            ("rules_with_findings", t("with findings", "有发现的规则")),
            ("findings", t("findings or records", "发现或记录")),
        ]
    };
    let state = |coverage| match coverage {
        Coverage::Findings => t("findings", "有发现"),
        Coverage::NoFindings => t("rules, no findings", "有规则，无发现"),
        Coverage::NoRules => t("no rules", "无规则"),
        Coverage::Record => t("by the record", "由记录支持"),
    };
    coverage(&answer.report, answer.chain.as_ref(), catalogue)
        .into_iter()
        .map(|framework| {
            let title = if framework.id == "other" { t("Other tags", "其他标签").to_owned() } else { framework.title.clone() };
            let note = format!("{} {}", t("source:", "来源："), framework.source);
            section(framework_id(&framework.id), &title, columns(), 3).note(&note).rows(framework.controls.iter().map(|row| {
                let counts = [row.rules, row.rules_with_findings, row.findings].map(Cell::Count);
                [
                    name(&row.control),
                    words(if lang == Lang::Zh { titles::chinese(&row.title) } else { &row.title }),
                    words(state(row.coverage)),
                ]
                .into_iter()
                .chain(counts)
                .collect()
            }))
        })
        .collect()
}

fn framework_id(id: &str) -> &'static str {
    super::frameworks::ids().find(|known| *known == id).unwrap_or("other")
}
