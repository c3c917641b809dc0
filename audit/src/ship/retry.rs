//! What ClickHouse would not take is offered to it again: what it takes leaves the quarantine, what it does not stays, with the new reason.
//!
//! Row by row, each under the token under which the shipper would send it alone. A row leaves the quarantine only after ClickHouse's word:
//! a crash between the two leaves it there, and the next try sends the same bytes under the same token, which ClickHouse knows.

use std::path::Path;

use super::batch::Batch;
use super::error::{Refusal, ShipError};
use super::ledger::{Kept, Ledger};
use super::table::Table;
use super::{Quarantined, ShipOptions};
use crate::reader::Seen;
use crate::{ChainHash, Reader, StoredEvent, crash};

/// What became of one row that was offered again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retried {
    /// The row, with the reason for which it stays where it stays.
    pub row: Quarantined,
    /// Whether it stays.
    pub fate: Fate,
}

/// Whether a row stays in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// ClickHouse has it now; it left the quarantine.
    Delivered,
    /// It stays.
    Refused,
}

/// Offers all rows in quarantine of the store at `store` to ClickHouse again, by number, and tells of each. Works while the gateway runs.
/// Blocks. What is told as delivered is, whatever comes after.
///
/// # Errors
/// `Store` where there is no store, `Ledger`, and whatever stands in the way of an insert and does not lie in the row; the rest of the rows
/// then stay as they are.
pub fn retry_quarantine(store: &Path, options: &ShipOptions, mut told: impl FnMut(Retried)) -> Result<(), ShipError> {
    let reader = Reader::open(store)?;
    let ledger = Ledger::open(store)?;
    let table = Table::new(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| ShipError::Options(format!("no runtime: {error}")))?;
    runtime.block_on(async {
        table.check().await?;
        let mut last = (i64::MIN, String::new());
        while let Some(kept) = ledger.kept_after(last.0, &last.1)? {
            let offered = offer(&reader, &table, &kept).await?;
            crash::point("offered_again");
            let (fate, refusal) = match offered {
                Ok(()) => {
                    ledger.release(&kept.event_id)?;
                    (Fate::Delivered, None)
                }
                Err(refusal) => {
                    ledger.refused_again(&kept.event_id, &refusal)?;
                    (Fate::Refused, Some(refusal))
                }
            };
            last = (kept.seq, kept.event_id.clone());
            let (code, reason) = refusal.map_or_else(|| (0, String::new()), |refusal| (refusal.code, refusal.text));
            told(Retried { row: Quarantined { seq: kept.seq, event_id: kept.event_id, code, reason }, fate });
        }
        Ok(())
    })
}

/// Sends one row; the inner error is what is wrong with it.
async fn offer(reader: &Reader, table: &Table, kept: &Kept) -> Result<Result<(), Refusal>, ShipError> {
    let Some((store_id, stored)) = found(reader, kept)? else {
        let text = "the event is no longer in the store, and what an older version kept of it here is too little to deliver it";
        return Ok(Err(Refusal { code: 0, name: "EVENT_IS_GONE".into(), text: text.into() }));
    };
    let StoredEvent { seq, event, body, chain_hash } = stored;
    let batch = Batch::single(&store_id, &Seen { seq, event, body: &body, chain_hash })?;
    // One event always makes a batch.
    let Some(mut batch) = batch else { return Ok(Ok(())) };
    match table.insert(&mut batch).await {
        Ok(()) => Ok(Ok(())),
        Err(ShipError::Content(refusal)) => Ok(Err(refusal)),
        Err(error) => Err(error),
    }
}

/// The event and the id of its store: as the store has it, or else as it was put aside.
fn found(reader: &Reader, kept: &Kept) -> Result<Option<(String, StoredEvent)>, ShipError> {
    let there = reader.events_after(kept.seq - 1, 1)?.pop();
    if let Some(stored) = there.filter(|stored| stored.seq == kept.seq && stored.event.event_id == kept.event_id) {
        return Ok(Some((reader.store_id().to_owned(), stored)));
    }
    let Some((store_id, chain_hash)) = kept.origin.clone() else { return Ok(None) };
    Ok(put_aside(kept, chain_hash).map(|stored| (store_id, stored)))
}

fn put_aside(kept: &Kept, chain_hash: ChainHash) -> Option<StoredEvent> {
    let event = serde_json::from_str(&kept.body).ok()?;
    Some(StoredEvent { seq: kept.seq, event, body: kept.body.clone(), chain_hash })
}
