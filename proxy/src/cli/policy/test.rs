//! `portcullis policy test`: the policy's own tests, and false alarms over ordinary texts against a budget.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use portcullis_policies::{Action, BENIGN, Direction, Policy, Role};

use super::junit::{Case, Suite, document};
use super::{judged, rules_of, title};
use crate::cli::say;
use crate::cli::texts::{Texts, Way, cores};

/// Most offenders that are listed.
const LISTED_MAX: usize = 50;

/// Run the policy's own tests.
#[derive(Debug, clap::Args)]
pub struct Test {
    /// The policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Write the results in JUnit's form to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Most ordinary texts that may be refused, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 0.5, value_parser = percent)]
    budget: f64,
    /// Ordinary texts as JSON lines {"text","kind","lang"}, instead of those built in
    #[arg(long, value_name = "FILE")]
    corpus: Option<PathBuf>,
}

fn percent(word: &str) -> Result<f64, String> {
    word.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).ok_or_else(|| "it is a number from 0 to 100".to_owned())
}

/// What was done with the ordinary texts.
#[derive(Default)]
struct Alarms {
    texts: usize,
    refused: Vec<Refused>,
    /// Texts redacted and flagged, by rule.
    redacted: BTreeMap<String, usize>,
    flagged: BTreeMap<String, usize>,
    redacted_texts: usize,
    flagged_texts: usize,
}

struct Refused {
    line: usize,
    kind: String,
    rules: Vec<String>,
}

impl Test {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let policy = Arc::new(Policy::proved(&self.policy)?);
        say(title(&policy, &self.policy))?;
        let tests = self.tests(&policy);
        let failed = tests.iter().filter(|test| test.failure.is_some()).count();
        say(format!("own tests: {} pass, {failed} fail", tests.len() - failed))?;
        for test in tests.iter() {
            if let Some(failure) = &test.failure {
                say(format!("  {}:{}: test `{}`: {failure}", test.file, test.line.unwrap_or_default(), test.name))?;
            }
        }
        let alarms = self.alarms(&policy)?;
        let share = 100.0 * alarms.refused.len() as f64 / alarms.texts.max(1) as f64;
        let is_over = share > self.budget;
        let verdict =
            format!("{} of {} ordinary texts refused: {share:.2} %, the budget is {} %", alarms.refused.len(), alarms.texts, self.budget);
        say(format!("{verdict}: {}", if is_over { "OVER" } else { "ok" }))?;
        let offenders: Vec<String> =
            alarms.refused.iter().map(|refused| format!("line {}{}: {}", refused.line, refused.kind, refused.rules.join(", "))).collect();
        for offender in offenders.iter().take(LISTED_MAX) {
            say(format!("  {offender}"))?;
        }
        if offenders.len() > LISTED_MAX {
            say(format!("  and {} more", offenders.len() - LISTED_MAX))?;
        }
        for (texts, word, rules) in
            [(alarms.redacted_texts, "redacted", &alarms.redacted), (alarms.flagged_texts, "flagged", &alarms.flagged)]
        {
            let rules: Vec<String> = rules.iter().map(|(rule, count)| format!("{rule} {count}")).collect();
            let by = if rules.is_empty() { String::new() } else { format!(" by {}", rules.join(", ")) };
            say(format!("{texts} {word}{by}"))?;
        }
        if let Some(path) = &self.junit {
            let failure = is_over.then(|| format!("{verdict}\n{}", offenders.join("\n")));
            let corpus = self.corpus.as_ref().map_or("built in".into(), |corpus| corpus.display().to_string());
            let budget =
                Case { name: format!("at most {} % of ordinary texts are refused", self.budget), file: corpus, line: None, failure };
            let suites = [Suite { name: "policy tests".into(), cases: tests }, Suite { name: "false alarms".into(), cases: vec![budget] }];
            std::fs::write(path, document(&suites)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(if failed > 0 || is_over { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// The policy's own tests, as cases.
    fn tests(&self, policy: &Policy) -> Vec<Case> {
        let file = self.policy.display().to_string();
        let case = |(name, line): (&str, u64)| Case { name: name.to_owned(), file: file.clone(), line: Some(line), failure: None };
        let mut cases: Vec<Case> = policy.tests().map(case).collect();
        for failure in policy.run_tests() {
            if let Some(case) = cases.get_mut(failure.index) {
                case.failure = Some(format!("expected {}, got {}", failure.expected, failure.got));
            }
        }
        cases
    }

    fn alarms(&self, policy: &Arc<Policy>) -> anyhow::Result<Alarms> {
        let texts = match &self.corpus {
            Some(path) => Texts::open(Some(path))?,
            None => Texts::of("the ordinary texts built in", BENIGN.as_bytes()),
        };
        let way = Way { direction: Direction::Request, role: Role::User };
        let policy = Arc::clone(policy);
        let mut alarms = Alarms::default();
        texts.each(
            cores(),
            move |line| {
                let (findings, decision) = judged(&policy, way.direction, line.text(way));
                // What `mode: monitor` would refuse is a false alarm too.
                (decision.intended, rules_of(&findings, decision.intended), line.said())
            },
            |line, (action, rules, kind)| {
                alarms.texts += 1;
                let counted = match action {
                    Action::Block => {
                        alarms.refused.push(Refused { line, kind, rules });
                        return Ok(());
                    }
                    Action::Allow => return Ok(()),
                    Action::Flag => {
                        alarms.flagged_texts += 1;
                        &mut alarms.flagged
                    }
                    _ => {
                        alarms.redacted_texts += 1;
                        &mut alarms.redacted
                    }
                };
                rules.into_iter().for_each(|rule| *counted.entry(rule).or_default() += 1);
                Ok(())
            },
            || Ok(()),
        )?;
        Ok(alarms)
    }
}
