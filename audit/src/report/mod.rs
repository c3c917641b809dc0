//! Reports: what happened in a period, in numbers that every source of events answers alike.
//!
//! A [`Tally`] takes events one by one and becomes a [`Report`]. A [`Source`] answers for its own events: by feeding them to a `Tally`,
//! or by asking a database the same questions. What each number counts is said at its field in [`figures`](Report); percentiles come
//! from the buckets of [`Histogram`], whose borders are part of the question.

mod chain;
mod document;
mod embedded;
mod error;
mod figures;
mod form;
mod frameworks;
mod grouped;
mod histogram;
mod html;
mod names;
mod period;
mod questions;
mod style;
mod svg;
mod table;
mod tally;
#[cfg(test)]
mod tests;
mod titles;
mod warehouse;
mod words;

pub use chain::{ChainProof, Standing};
pub use embedded::Embedded;
pub use error::ReportError;
pub use figures::{
    Address, Caller, CallerLimit, Category, Count, Day, Decided, FailedOpen, Guarded, Model, PolicyPeriod, Report, Rule, Severe, Stage,
    Tokens,
};
pub use form::{Form, Format, render};
pub use frameworks::{Catalogue, ControlFigures, Coverage, FrameworkFigures, RuleTags, coverage};
pub use histogram::Histogram;
pub use names::NAMES_MAX;
pub use period::Period;
pub use style::Lang;
pub use tally::Tally;
pub use warehouse::Warehouse;

/// What a report is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The period.
    pub period: Period,
    /// Only this tenant's events.
    pub tenant: Option<String>,
    /// Only those of this key id.
    pub key_id: Option<String>,
}

/// What a source answers.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The numbers.
    pub report: Report,
    /// What was proven of the events that the numbers are of; `None` where the source holds no chain.
    pub chain: Option<ChainProof>,
}

/// Where events are kept that a report can be made of: [`Embedded`], [`Warehouse`], and a slice of them.
pub trait Source {
    /// Answers for the events of `scope`. `progress` hears how many events were looked at, and of how many.
    ///
    /// # Errors
    /// When the events could not all be read: then there is no report.
    fn answer(&self, scope: &Scope, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, ReportError>;
}

impl Source for [crate::Event] {
    fn answer(&self, scope: &Scope, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, ReportError> {
        let mut tally = Tally::new(scope.clone());
        self.iter().for_each(|event| tally.add(event));
        progress(self.len() as u64, self.len() as u64);
        Ok(Answer { report: tally.finish(), chain: None })
    }
}
