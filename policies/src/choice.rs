//! What is done about a finding, as written: one action, one for each severity, or cases of which the first that fits counts.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use crate::model::{Action, Role, Severity};

/// One action, one for each severity, or cases.
#[derive(Clone, Debug)]
pub(crate) enum ChoiceForm {
    One(Action),
    BySeverity(SeverityForm),
    Cases(Vec<Spanned<CaseForm>>),
}

/// Actions by severity; one that is missing is that of the next lower one given.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeverityForm {
    low: Option<Action>,
    medium: Option<Action>,
    high: Option<Action>,
    critical: Option<Action>,
}

/// One case; what it is silent about may be anything.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct CaseForm {
    severity: Option<OneOrMany<Severity>>,
    score_min: Option<f32>,
    roles: Option<OneOrMany<Role>>,
    action: Action,
}

/// `a` or `[a, b]`.
#[derive(Clone, Debug)]
pub(crate) struct OneOrMany<T>(pub Vec<T>);

/// What a case asks and does, for a rule whose severity is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    /// One bit for each role.
    roles: u8,
    score_min: f32,
    action: Action,
}

const EVERY_ROLE: u8 = 0b1111;

/// The cases of one rule in one direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cases(Vec<Case>);

impl Cases {
    /// Returns the action for a finding; where no case fits, it is flagged.
    pub(crate) fn action(&self, role: Role, score: f32) -> Action {
        let fits = |case: &&Case| case.roles & 1 << role as u8 != 0 && score >= case.score_min;
        self.0.iter().find(fits).map_or(Action::Flag, |case| case.action)
    }

    /// Returns the strongest action that a finding in a text of this role can have.
    pub(crate) fn strongest(&self, role: Role) -> Action {
        let mut strongest = Action::Allow;
        for case in self.0.iter().filter(|case| case.roles & 1 << role as u8 != 0) {
            strongest = strongest.max(case.action);
            if case.score_min <= 0.0 {
                return strongest;
            }
        }
        strongest.max(Action::Flag)
    }
}

impl ChoiceForm {
    /// Returns the cases of a rule with this severity.
    pub(crate) fn cases(&self, severity: Severity) -> Cases {
        let always = |action| Case { roles: EVERY_ROLE, score_min: 0.0, action };
        Cases(match self {
            ChoiceForm::One(action) => vec![always(*action)],
            ChoiceForm::BySeverity(by) => {
                let given = by.steps()[..=severity as usize].iter().rev().find_map(|step| *step);
                vec![always(given.unwrap_or(Action::Flag))]
            }
            ChoiceForm::Cases(cases) => {
                let fits = |case: &&Spanned<CaseForm>| case.value.severities().contains(&severity);
                cases.iter().filter(fits).map(|case| case.value.case()).collect()
            }
        })
    }

    /// Lists every action that is written.
    pub(crate) fn actions(&self) -> Vec<Action> {
        match self {
            ChoiceForm::One(action) => vec![*action],
            ChoiceForm::BySeverity(by) => by.steps().into_iter().flatten().collect(),
            ChoiceForm::Cases(cases) => cases.iter().map(|case| case.value.action).collect(),
        }
    }

    /// Finds what cannot be meant: each with its line, where it has one of its own, and a reason.
    pub(crate) fn contradictions(&self) -> Vec<(Option<u64>, String)> {
        match self {
            ChoiceForm::One(_) => vec![],
            ChoiceForm::BySeverity(by) => by.contradiction().map(|reason| (None, reason)).into_iter().collect(),
            ChoiceForm::Cases(cases) if cases.is_empty() => vec![(None, "the list of cases is empty".into())],
            ChoiceForm::Cases(cases) => {
                let mut found = Vec::new();
                for (at, case) in cases.iter().enumerate() {
                    let line = Some(case.referenced.line());
                    if let Some(reason) = case.value.fault() {
                        found.push((line, reason));
                    }
                    let covers = |earlier: &&Spanned<CaseForm>| earlier.value.covers(&case.value);
                    if let Some(earlier) = cases[..at].iter().find(covers) {
                        let place = earlier.referenced.line();
                        found.push((line, format!("this case is never reached: the one in line {place} fits whatever fits it")));
                    }
                }
                found
            }
        }
    }
}

impl SeverityForm {
    fn steps(&self) -> [Option<Action>; 4] {
        [self.low, self.medium, self.high, self.critical]
    }

    fn contradiction(&self) -> Option<String> {
        let given: Vec<(Severity, Action)> =
            Severity::ALL.into_iter().zip(self.steps()).filter_map(|(severity, action)| Some((severity, action?))).collect();
        let [(low, strong), (high, mild)] = given.windows(2).find(|pair| pair[0].1 > pair[1].1)?.try_into().ok()?;
        let (low, high) = (low.as_str(), high.as_str());
        Some(format!("{high} is milder than {low} ({} after {}); a worse finding needs at least the same", mild.as_str(), strong.as_str()))
    }
}

impl CaseForm {
    fn severities(&self) -> &[Severity] {
        self.severity.as_ref().map_or(&Severity::ALL, |given| &given.0)
    }

    fn role_bits(&self) -> u8 {
        self.roles.as_ref().map_or(EVERY_ROLE, |roles| roles.0.iter().fold(0, |bits, &role| bits | 1 << role as u8))
    }

    fn case(&self) -> Case {
        Case { roles: self.role_bits(), score_min: self.score_min.unwrap_or(0.0), action: self.action }
    }

    fn covers(&self, later: &CaseForm) -> bool {
        later.severities().iter().all(|severity| self.severities().contains(severity))
            && later.role_bits() & !self.role_bits() == 0
            && self.case().score_min <= later.case().score_min
    }

    fn fault(&self) -> Option<String> {
        if self.score_min.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            return Some("score_min must be between 0 and 1".into());
        }
        let empty = self.severities().is_empty() || self.role_bits() == 0;
        empty.then(|| "severity and roles must not be empty; leave them out for all".into())
    }
}

impl<'de> Deserialize<'de> for ChoiceForm {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Choice;
        impl<'de> Visitor<'de> for Choice {
            type Value = ChoiceForm;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "allow, flag, pseudonymize, redact or block, one of them for each severity: { low: flag, high: block }, \
                     or cases: [{ severity: high, score_min: 0.8, roles: [user], action: block }, { action: flag }]",
                )
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<ChoiceForm, E> {
                Action::deserialize(word.into_deserializer()).map(ChoiceForm::One)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ChoiceForm, A::Error> {
                SeverityForm::deserialize(MapAccessDeserializer::new(map)).map(ChoiceForm::BySeverity)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ChoiceForm, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(ChoiceForm::Cases)
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a list of words")
            }
            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
                T::deserialize(word.into_deserializer()).map(|one| OneOrMany(vec![one]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(OneOrMany)
            }
        }
        deserializer.deserialize_any(Either(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(yaml: &str) -> ChoiceForm {
        serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{yaml}: {error}"))
    }

    #[test]
    fn the_first_case_that_fits_counts_and_what_none_fits_is_flagged() {
        let choice = choice(
            "- { severity: [high, critical], score_min: 0.8, action: block }\n- { roles: tool, action: redact }\n- { severity: low, action: allow }\n",
        );
        for (severity, role, score, action) in [
            (Severity::High, Role::User, 0.8, Action::Block),
            (Severity::Critical, Role::Tool, 0.9, Action::Block),
            (Severity::High, Role::User, 0.79, Action::Flag),
            (Severity::High, Role::Tool, 0.79, Action::Redact),
            (Severity::Low, Role::Tool, 1.0, Action::Redact),
            (Severity::Low, Role::User, 1.0, Action::Allow),
            (Severity::Medium, Role::User, 1.0, Action::Flag),
        ] {
            assert_eq!(choice.cases(severity).action(role, score), action, "{severity:?} {role:?} {score}");
        }
        let strongest = |severity, role| choice.cases(severity).strongest(role);
        assert_eq!(strongest(Severity::High, Role::User), Action::Block);
        assert_eq!(strongest(Severity::Low, Role::User), Action::Allow);
        assert_eq!(strongest(Severity::Medium, Role::System), Action::Flag);
    }

    #[test]
    fn a_severity_left_out_takes_the_next_lower_one() {
        let choice = choice("{ low: allow, high: block }");
        let actions = Severity::ALL.map(|severity| choice.cases(severity).action(Role::User, 0.5));
        assert_eq!(actions, [Action::Allow, Action::Allow, Action::Block, Action::Block]);
        assert!(choice.contradictions().is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_found_with_its_line() {
        for (yaml, line, expected) in [
            ("{ low: block, high: flag }", None, "high is milder than low (flag after block)"),
            ("[]", None, "empty"),
            ("- { action: flag }\n- { severity: high, action: block }\n", Some(2), "never reached: the one in line 1"),
            ("- { score_min: 0.5, action: flag }\n- { score_min: 0.5, roles: [user], action: block }\n", Some(2), "never reached"),
            ("- { score_min: 2, action: flag }\n", Some(1), "between 0 and 1"),
            ("- { roles: [], action: flag }\n", Some(1), "must not be empty"),
        ] {
            let found = choice(yaml).contradictions();
            assert!(matches!(&found[..], [(at, reason)] if *at == line && reason.contains(expected)), "{yaml}: {found:?}");
        }
        assert!(choice("- { score_min: 0.8, action: block }\n- { score_min: 0.5, action: flag }\n").contradictions().is_empty());
    }

    #[test]
    fn a_wrong_word_or_key_is_named() {
        for (yaml, expected) in
            [("blok", "blok"), ("{ hihg: block }", "hihg"), ("- { sevrity: low, action: flag }", "sevrity"), ("7", "cases")]
        {
            let error = serde_saphyr::from_str::<ChoiceForm>(yaml).unwrap_err().to_string();
            assert!(error.contains(expected), "{yaml}: {error}");
        }
    }
}
