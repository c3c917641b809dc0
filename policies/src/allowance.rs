//! What is let off in the texts of one request.

use crate::pseudonym::Restoration;

/// What is let off in the texts of one request and its answer; nothing by default.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    /// The pseudonyms issued for the request: rules do not speak about them.
    issued: Restoration,
}

impl Allowance {
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
