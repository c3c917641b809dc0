//! Which public controls the tags of rules stand for, and what the record itself serves: the one table, each framework with its source.
//!
//! Titles are short forms of those in the sources. A row says what was found, or recorded, that is of use for the control; it does not
//! say that the control is met.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::chain::{ChainProof, Standing};
use super::figures::Report;
use crate::Decision;

struct Framework {
    id: &'static str,
    title: &'static str,
    source: &'static str,
    controls: &'static [Control],
}

struct Control {
    id: &'static str,
    title: &'static str,
    evidence: Evidence,
}

enum Evidence {
    /// Findings of the rules that bear this tag.
    Tag(&'static str),
    /// Events on record.
    Events,
    /// Requests and answers that are high-risk.
    HighRisk,
    /// Answers on record: outcome, latencies, tokens.
    Answers,
    /// Requests on record with the policy version that decided.
    Requests,
    /// Requests refused for their key.
    AuthFailures,
    /// Requests redacted or pseudonymised.
    Concealed,
    /// Events whose chain was checked.
    Chain,
}

const fn tag(id: &'static str, title: &'static str, tag: &'static str) -> Control {
    Control { id, title, evidence: Evidence::Tag(tag) }
}

const fn record(id: &'static str, title: &'static str, evidence: Evidence) -> Control {
    Control { id, title, evidence }
}

const FRAMEWORKS: &[Framework] = &[
    Framework {
        id: "owasp_llm_2025",
        title: "OWASP Top 10 for LLM Applications 2025",
        source: "https://genai.owasp.org/llm-top-10/ (version 2025, LLM01 to LLM10)",
        controls: &[
            tag("LLM01:2025", "Prompt Injection", "OWASP-LLM01:2025"),
            tag("LLM02:2025", "Sensitive Information Disclosure", "OWASP-LLM02:2025"),
            tag("LLM03:2025", "Supply Chain", "OWASP-LLM03:2025"),
            tag("LLM04:2025", "Data and Model Poisoning", "OWASP-LLM04:2025"),
            tag("LLM05:2025", "Improper Output Handling", "OWASP-LLM05:2025"),
            tag("LLM06:2025", "Excessive Agency", "OWASP-LLM06:2025"),
            tag("LLM07:2025", "System Prompt Leakage", "OWASP-LLM07:2025"),
            tag("LLM08:2025", "Vector and Embedding Weaknesses", "OWASP-LLM08:2025"),
            tag("LLM09:2025", "Misinformation", "OWASP-LLM09:2025"),
            tag("LLM10:2025", "Unbounded Consumption", "OWASP-LLM10:2025"),
        ],
    },
    Framework {
        id: "owasp_llm_2026",
        title: "OWASP Top 10 for LLM Applications 2026",
        source: "https://github.com/GenAI-Security-Project/GenAI-LLM-Top10, folder 2026/final (2026-08-04)",
        controls: &[
            tag("LLM01:2026", "Prompt Injection", "OWASP-LLM01:2026"),
            tag("LLM02:2026", "Sensitive Information Disclosure", "OWASP-LLM02:2026"),
            tag("LLM03:2026", "Excessive Agency", "OWASP-LLM03:2026"),
            tag("LLM04:2026", "Supply Chain", "OWASP-LLM04:2026"),
            tag("LLM05:2026", "Data and Model Poisoning", "OWASP-LLM05:2026"),
            tag("LLM06:2026", "Unbounded Consumption", "OWASP-LLM06:2026"),
            tag("LLM07:2026", "Misinformation", "OWASP-LLM07:2026"),
            tag("LLM08:2026", "Hidden Context Exposure", "OWASP-LLM08:2026"),
            tag("LLM09:2026", "Vector and Embedding Weaknesses", "OWASP-LLM09:2026"),
            tag("LLM10:2026", "Improper Output Handling", "OWASP-LLM10:2026"),
        ],
    },
    Framework {
        id: "mitre_atlas",
        title: "MITRE ATLAS",
        source: "https://atlas.mitre.org/techniques (ATLAS 2026.04, data 5.6.0, https://github.com/mitre-atlas/atlas-data)",
        controls: &[
            tag("AML.T0051.000", "LLM Prompt Injection: Direct", "ATLAS-AML.T0051.000"),
            tag("AML.T0051.001", "LLM Prompt Injection: Indirect", "ATLAS-AML.T0051.001"),
            tag("AML.T0053", "AI Agent Tool Invocation", "ATLAS-AML.T0053"),
            tag("AML.T0054", "LLM Jailbreak", "ATLAS-AML.T0054"),
            tag("AML.T0056", "Extract LLM System Prompt", "ATLAS-AML.T0056"),
            tag("AML.T0057", "LLM Data Leakage", "ATLAS-AML.T0057"),
            tag("AML.T0065", "LLM Prompt Crafting", "ATLAS-AML.T0065"),
            tag("AML.T0068", "LLM Prompt Obfuscation", "ATLAS-AML.T0068"),
            tag("AML.T0069.000", "Discover LLM System Information: Special Character Sets", "ATLAS-AML.T0069.000"),
            tag("AML.T0069.001", "Discover LLM System Information: System Instruction Keywords", "ATLAS-AML.T0069.001"),
            tag("AML.T0077", "LLM Response Rendering", "ATLAS-AML.T0077"),
            tag("AML.T0086", "Exfiltration via AI Agent Tool Invocation", "ATLAS-AML.T0086"),
            tag("AML.T0092", "Manipulate User LLM Chat History", "ATLAS-AML.T0092"),
            tag("AML.T0099", "AI Agent Tool Data Poisoning", "ATLAS-AML.T0099"),
            tag("AML.T0110", "AI Agent Tool Poisoning", "ATLAS-AML.T0110"),
        ],
    },
    Framework {
        id: "gdpr",
        title: "GDPR",
        source: "Regulation (EU) 2016/679, https://eur-lex.europa.eu/eli/reg/2016/679/oj",
        controls: &[
            tag("Art. 4(1)", "Personal data", "GDPR-Art4"),
            tag("Art. 9(1)", "Special categories of personal data", "GDPR-Art9"),
            record("Art. 32(1)(a)", "Pseudonymisation: requests redacted or pseudonymised", Evidence::Concealed),
        ],
    },
    Framework {
        id: "pci_dss",
        title: "PCI DSS",
        source: "PCI DSS v4.0.1 (June 2024), https://www.pcisecuritystandards.org/document_library/",
        controls: &[
            tag("3.3", "Sensitive authentication data is not stored after authorization", "PCI-DSS-3.3"),
            tag("3.4", "Access to displays of full account numbers and ability to copy them are restricted", "PCI-DSS-3.4"),
            record("10.2.1.4", "All invalid logical access attempts are logged", Evidence::AuthFailures),
            record("10.3", "Audit logs are protected from unauthorized modifications: events whose chain was checked", Evidence::Chain),
        ],
    },
    Framework {
        id: "hipaa",
        title: "HIPAA",
        source: "45 CFR Part 164, https://www.ecfr.gov/current/title-45/part-164",
        controls: &[
            tag("164.514(b)(2)(i)", "Identifiers to remove for de-identification", "HIPAA-164.514"),
            record("164.312(b)", "Audit controls: events on record", Evidence::Events),
            record("164.312(c)(1)", "Integrity: events whose chain was checked", Evidence::Chain),
        ],
    },
    Framework {
        id: "pipl",
        title: "PIPL 个人信息保护法",
        source: "中华人民共和国个人信息保护法 (2021-11-01), http://www.npc.gov.cn/npc/c30834/202108/a8c4e3672c74491a80b53a172bb753fe.shtml",
        controls: &[
            tag("Art. 4", "Personal information 个人信息", "PIPL-Art4"),
            tag("Art. 28", "Sensitive personal information 敏感个人信息", "PIPL-Art28"),
            record("Art. 51(3)", "De-identification 去标识化: requests redacted or pseudonymised", Evidence::Concealed),
        ],
    },
    Framework {
        id: "eu_ai_act_12",
        title: "EU AI Act, Article 12 (record-keeping)",
        source: "Regulation (EU) 2024/1689, Article 12, for high-risk AI systems, as amended by Regulation (EU) 2026/1744, https://eur-lex.europa.eu/eli/reg/2024/1689/oj",
        controls: &[
            record("Art. 12(1)", "Events are recorded automatically", Evidence::Events),
            record("Art. 12(2)(a)", "Situations that may result in a risk: high-risk requests and answers", Evidence::HighRisk),
            record("Art. 12(2)(b)", "Post-market monitoring: answers with outcome, latencies, tokens", Evidence::Answers),
            record("Art. 12(2)(c)", "Monitoring of the operation: requests with the policy that decided", Evidence::Requests),
        ],
    },
];

/// The ids of the frameworks.
pub(super) fn ids() -> impl Iterator<Item = &'static str> {
    FRAMEWORKS.iter().map(|framework| framework.id)
}

/// The tags of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTags {
    /// The rule's id.
    pub rule: String,
    /// Its tags.
    pub tags: Vec<String>,
}

/// The rules of the policies that a report is held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// The rules; one that is in several policies may stand here several times.
    pub rules: Vec<RuleTags>,
    /// Versions of these policies.
    pub versions: Vec<String>,
}

/// How far a control is covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// Its rules found something.
    Findings,
    /// It has rules, and they found nothing.
    NoFindings,
    /// No rule of the policies bears its tag.
    NoRules,
    /// The record serves it, not rules.
    Record,
}

/// One control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ControlFigures {
    /// Its id in the source.
    pub control: String,
    /// A short title.
    pub title: String,
    /// How far it is covered.
    pub coverage: Coverage,
    /// Rules that bear its tag.
    pub rules: u64,
    /// Those that found something.
    pub rules_with_findings: u64,
    /// Their findings; for `record`: how many of what the title says are on record.
    pub findings: u64,
}

/// One framework.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FrameworkFigures {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Where its controls are written.
    pub source: String,
    /// Its controls.
    pub controls: Vec<ControlFigures>,
}

/// Groups the findings of a report by framework. The last framework holds the tags that no other one names.
pub fn coverage(report: &Report, chain: Option<&ChainProof>, catalogue: &Catalogue) -> Vec<FrameworkFigures> {
    let found: BTreeMap<&str, u64> = report.rules.iter().map(|row| (row.rule.as_str(), row.in_requests + row.in_answers)).collect();
    let mut by_tag: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for rule in &catalogue.rules {
        for tag in &rule.tags {
            by_tag.entry(tag).or_default().insert(&rule.rule);
        }
    }
    let tagged = |control: &str, title: &str, tag: &str| {
        let rules = by_tag.get(tag);
        let counts = || rules.into_iter().flatten().filter_map(|rule| found.get(rule).copied()).filter(|count| *count > 0);
        let (rules, rules_with_findings) = (rules.map_or(0, BTreeSet::len) as u64, counts().count() as u64);
        let coverage = match (rules, rules_with_findings) {
            (0, _) => Coverage::NoRules,
            (_, 0) => Coverage::NoFindings,
            _ => Coverage::Findings,
        };
        ControlFigures { control: control.into(), title: title.into(), coverage, rules, rules_with_findings, findings: counts().sum() }
    };
    let mut frameworks: Vec<FrameworkFigures> = FRAMEWORKS
        .iter()
        .map(|framework| FrameworkFigures {
            id: framework.id.into(),
            title: framework.title.into(),
            source: framework.source.into(),
            controls: framework
                .controls
                .iter()
                .map(|control| match control.evidence {
                    Evidence::Tag(tag) => tagged(control.id, control.title, tag),
                    ref evidence => recorded(control, on_record(evidence, report, chain)),
                })
                .collect(),
        })
        .collect();
    let known: BTreeSet<&str> = FRAMEWORKS.iter().flat_map(|framework| framework.controls).filter_map(Control::tag).collect();
    let others: Vec<ControlFigures> = by_tag.keys().filter(|tag| !known.contains(**tag)).map(|tag| tagged(tag, "", tag)).collect();
    if !others.is_empty() {
        frameworks.push(FrameworkFigures {
            id: "other".into(),
            title: "Other tags".into(),
            source: "the rules' own tags".into(),
            controls: others,
        });
    }
    frameworks
}

impl Control {
    fn tag(&self) -> Option<&'static str> {
        if let Evidence::Tag(tag) = self.evidence { Some(tag) } else { None }
    }
}

fn recorded(control: &Control, findings: u64) -> ControlFigures {
    let Control { id, title, .. } = control;
    let (control, title) = ((*id).to_owned(), (*title).to_owned());
    ControlFigures { control, title, coverage: Coverage::Record, rules: 0, rules_with_findings: 0, findings }
}

fn on_record(evidence: &Evidence, report: &Report, chain: Option<&ChainProof>) -> u64 {
    match evidence {
        Evidence::Tag(_) => 0,
        Evidence::Events => report.events,
        Evidence::HighRisk => report.high_risk,
        Evidence::Answers => report.answers,
        Evidence::Requests => report.policies.iter().map(|row| row.requests).sum(),
        Evidence::AuthFailures => report.auth_failures.iter().map(|row| row.count).sum(),
        Evidence::Concealed => {
            let concealed = |row: &&super::Decided| matches!(row.decision, Decision::Redact | Decision::Pseudonymize);
            report.decisions.iter().filter(concealed).map(|row| row.requests).sum()
        }
        Evidence::Chain => chain.filter(|chain| chain.standing != Standing::Tampered).map_or(0, |chain| chain.checked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tag_and_no_control_stands_twice() {
        let tags: Vec<_> = FRAMEWORKS.iter().flat_map(|framework| framework.controls).filter_map(Control::tag).collect();
        assert_eq!(tags.iter().collect::<BTreeSet<_>>().len(), tags.len());
        for framework in FRAMEWORKS {
            let ids: BTreeSet<_> = framework.controls.iter().map(|control| control.id).collect();
            assert_eq!(ids.len(), framework.controls.len(), "{}", framework.id);
            assert!(framework.source.contains("http"), "{}", framework.id);
        }
    }
}
