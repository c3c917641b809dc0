//! What is let off in the texts of one request.

use std::sync::Arc;

use crate::pseudonym::Restoration;

/// What is let off in the texts of one request and its answer; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    /// The pseudonyms issued for the request: rules do not speak about them.
    issued: Restoration,
    /// The policy's exceptions that hold, by their place in it.
    excepted: Arc<[usize]>,
    lapsed: bool,
}

impl Allowance {
    /// Lets off what these exceptions say; `lapsed` when one of them has expired.
    pub(crate) fn excepting(excepted: Vec<usize>, lapsed: bool) -> Self {
        Self { excepted: excepted.into(), lapsed, ..Self::default() }
    }

    /// Returns true when an exception that holds has expired, and will stop to hold within days.
    #[must_use]
    pub fn is_lapsed(&self) -> bool {
        self.lapsed
    }

    pub(crate) fn excepted(&self) -> &[usize] {
        &self.excepted
    }

    /// Lets off the pseudonyms that were issued for a request.
    #[must_use]
    pub fn issued(mut self, issued: Restoration) -> Self {
        self.issued = issued;
        self
    }

    /// Returns the way back for the request's pseudonyms.
    #[must_use]
    pub fn restoration(&self) -> &Restoration {
        &self.issued
    }

    /// Returns true when a find with this text is let off.
    pub(crate) fn lets_off(&self, piece: &str) -> bool {
        self.issued.is_issued(piece)
    }
}
