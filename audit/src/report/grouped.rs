//! Counts that a database has grouped already, taken into a [`Tally`], which then ends as if it had seen the events one by one.

use super::ReportError;
use super::questions::Question;
use super::tally::{STAGES, Tally, address};
use crate::ship::ShipError;
use crate::{Decision, Kind, Mode, Severity};

/// One row of an answer; what its parts are is said at the [`Question`].
#[derive(Debug, clickhouse::Row, serde::Deserialize)]
pub(super) struct Group {
    pub names: Vec<String>,
    pub numbers: Vec<u64>,
}

impl Group {
    fn parts<const N: usize, const M: usize>(self) -> Result<([String; N], [u64; M]), ReportError> {
        let shape = || ReportError::ClickHouse(ShipError::Drift("an answer of another shape than was asked for".into()));
        Ok((self.names.try_into().map_err(|_| shape())?, self.numbers.try_into().map_err(|_| shape())?))
    }

    /// The numbers of a row that needs no more.
    pub fn numbers<const M: usize>(self) -> Result<[u64; M], ReportError> {
        self.parts::<0, M>().map(|([], numbers)| numbers)
    }

    /// The name and the number of a row that has one each.
    pub fn pair(self) -> Result<(String, u64), ReportError> {
        self.parts().map(|([name], [number])| (name, number))
    }
}

impl Tally {
    /// Takes in one row of the answer to `question`.
    ///
    /// # Errors
    /// `Unknown` where a word is of a newer gateway: then its events cannot be counted, and there is no report.
    pub(super) fn add_group(&mut self, question: Question, group: Group) -> Result<(), ReportError> {
        match question {
            Question::Kinds => self.add_kind(group),
            Question::Gateways => group.pair().map(|(name, count)| *self.gateways.row(name.as_str()) += count),
            Question::Days => self.add_day(group),
            Question::Risks => self.add_risk(group),
            Question::Answers => self.add_answers(group),
            Question::Models => self.add_model(group),
            Question::Callers => self.add_caller(group),
            Question::Limits => {
                let ([limit, tenant, key_id], [count]) = group.parts()?;
                *self.limits.row(&(limit, tenant, key_id)) += count;
                Ok(())
            }
            Question::AuthFailures => {
                let ([reason, peer], [count]) = group.parts()?;
                *self.auth_failures.row(reason.as_str()) += count;
                *self.auth_addresses.row(address(&peer).as_str()) += count;
                Ok(())
            }
            Question::FailedOpen => self.add_failed_open(group),
            Question::Guard => self.add_guard(group),
            Question::Policies => self.add_policy(group),
            Question::Rules => self.add_rule(group),
            Question::Categories => {
                let ([category], [in_requests, in_answers, events]) = group.parts()?;
                let row = self.categories.row(category.as_str());
                row.in_requests += in_requests;
                row.in_answers += in_answers;
                row.events += events;
                Ok(())
            }
            Question::Severities => {
                let (name, findings) = group.pair()?;
                self.severities[word::<Severity>("severity", &name)? as usize][0] += findings;
                Ok(())
            }
            Question::Stages => self.add_stage(group),
        }
    }

    fn add_kind(&mut self, group: Group) -> Result<(), ReportError> {
        let ([name], [events, cut, first, last]) = group.parts()?;
        let kind: Kind = word("kind", &name)?;
        let (first, last) = (first.cast_signed(), last.cast_signed());
        self.kinds[kind as usize] += events;
        let report = &mut self.report;
        report.events += events;
        report.cut += cut;
        report.first_us = Some(report.first_us.unwrap_or(first).min(first));
        report.last_us = Some(report.last_us.unwrap_or(last).max(last));
        match kind {
            Kind::Completion => report.answers += events,
            Kind::Decision | Kind::Rejected | Kind::AuthFailure | Kind::Limit => report.requests += events,
            Kind::Admin | Kind::PolicyChange | Kind::Alert => {}
        }
        Ok(())
    }

    fn add_day(&mut self, group: Group) -> Result<(), ReportError> {
        let ([decision, intended], [day, is_answer, events, blocked]) = group.parts()?;
        let (decision, intended) = (some_word::<Decision>("decision", &decision)?, some_word::<Decision>("decision", &intended)?);
        if is_answer != 0 {
            if let Some(decision) = decision {
                self.decisions[decision as usize][1] += events;
            }
            if blocked > 0 {
                self.days.entry(day.cast_signed()).or_default().1 += blocked;
            }
            return Ok(());
        }
        let (decisions, _) = self.days.entry(day.cast_signed()).or_default();
        if let Some(decision) = decision {
            self.decisions[decision as usize][0] += events;
            decisions[decision as usize] += events;
        }
        if let Some(intended) = intended {
            self.decisions[intended as usize][2] += events;
        }
        Ok(())
    }

    fn add_risk(&mut self, group: Group) -> Result<(), ReportError> {
        let [is_answer, worst, events, high_risk] = group.numbers()?;
        self.report.high_risk += high_risk;
        let severity = usize::try_from(worst).ok().and_then(|worst| self.severities.get_mut(worst.checked_sub(1)?));
        if let Some(severity) = severity {
            severity[if is_answer != 0 { 2 } else { 1 }] += events;
        }
        Ok(())
    }

    fn add_answers(&mut self, group: Group) -> Result<(), ReportError> {
        let ([outcome], [measured, answers, tokens_in, tokens_out, unknown]) = group.parts()?;
        *self.outcomes.row(outcome.as_str()) += answers;
        let tokens = &mut self.report.tokens;
        let (to_in, to_out) = match measured {
            0 => (&mut tokens.estimated_in, &mut tokens.estimated_out),
            _ => (&mut tokens.measured_in, &mut tokens.measured_out),
        };
        *to_in = to_in.saturating_add(tokens_in);
        *to_out = to_out.saturating_add(tokens_out);
        tokens.unknown += unknown;
        Ok(())
    }

    fn add_model(&mut self, group: Group) -> Result<(), ReportError> {
        let ([name], [requests, blocked, refused, answers, tokens_in, tokens_out]) = group.parts()?;
        let model = self.models.row(name.as_str());
        model.requests += requests;
        model.blocked += blocked;
        model.refused += refused;
        model.answers += answers;
        model.tokens_in = model.tokens_in.saturating_add(tokens_in);
        model.tokens_out = model.tokens_out.saturating_add(tokens_out);
        Ok(())
    }

    fn add_caller(&mut self, group: Group) -> Result<(), ReportError> {
        let ([tenant, key_id], [requests, high_risk, critical, blocked]) = group.parts()?;
        let caller = self.callers.row(&(tenant, key_id));
        caller.requests += requests;
        caller.high_risk += high_risk;
        caller.critical += critical;
        caller.blocked += blocked;
        Ok(())
    }

    fn add_failed_open(&mut self, group: Group) -> Result<(), ReportError> {
        let ([control], [requests, minutes, first, last]) = group.parts()?;
        let open = self.failed_open.row(control.as_str());
        open.requests += requests;
        open.minutes_counted += minutes;
        open.span.add(first.cast_signed());
        open.span.add(last.cast_signed());
        Ok(())
    }

    fn add_guard(&mut self, group: Group) -> Result<(), ReportError> {
        let (state, requests) = group.pair()?;
        let guard = &mut self.report.guard;
        match state.as_str() {
            "scored" => guard.scored += requests,
            "unavailable" => guard.unavailable += requests,
            "skipped" | "" => guard.skipped += requests,
            _ => return Err(ReportError::Unknown { what: "guard state", word: state }),
        }
        Ok(())
    }

    fn add_policy(&mut self, group: Group) -> Result<(), ReportError> {
        let ([policy, version, mode], [requests, first, last]) = group.parts()?;
        let mode = some_word::<Mode>("mode", &mode)?.map(Mode::as_str);
        let row = self.policies.row(&(policy, version, mode));
        row.requests += requests;
        row.span.add(first.cast_signed());
        row.span.add(last.cast_signed());
        Ok(())
    }

    fn add_rule(&mut self, group: Group) -> Result<(), ReportError> {
        let ([rule, category], [in_requests, in_answers, events, actions @ .., time, rank]) = group.parts::<2, 10>()?;
        let severity = usize::try_from(rank).ok().and_then(|rank| Severity::ALL.get(rank.checked_sub(1)?));
        let severity = severity.ok_or_else(|| ReportError::Unknown { what: "severity of the rule", word: rule.clone() })?;
        let row = self.rules.row(rule.as_str());
        row.last_is(time.cast_signed(), *severity, &category);
        row.in_requests += in_requests;
        row.in_answers += in_answers;
        row.events += events;
        row.actions.iter_mut().zip(actions).for_each(|(action, count)| *action += count);
        Ok(())
    }

    fn add_stage(&mut self, group: Group) -> Result<(), ReportError> {
        let ([name], [bucket, count, greatest]) = group.parts()?;
        let place = STAGES.iter().position(|(stage, _)| *stage == name);
        let histogram = place.and_then(|place| self.stages.get_mut(place));
        let histogram = histogram.ok_or(ReportError::Unknown { what: "stage", word: name })?;
        histogram.add_bucket(usize::try_from(bucket).unwrap_or(usize::MAX), count);
        histogram.seen(greatest);
        Ok(())
    }
}

fn word<T: std::str::FromStr>(what: &'static str, word: &str) -> Result<T, ReportError> {
    word.parse().map_err(|_| ReportError::Unknown { what, word: word.to_owned() })
}

/// A word, or none where it is empty.
fn some_word<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<Option<T>, ReportError> {
    if text.is_empty() { Ok(None) } else { word(what, text).map(Some) }
}
