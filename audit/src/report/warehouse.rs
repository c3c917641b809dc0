//! ClickHouse as a source: the questions are answered there, over the events themselves, each counted once.
//!
//! A row sent twice that ClickHouse has not merged yet is counted once: when some are found, all questions read `FINAL`. When events
//! come or go between the first question and the last, everything is asked again of the events that were there at the beginning.
//! The hourly sums are not read: they know no minutes, and count a row twice that was sent twice.

use std::time::Duration;

use clickhouse::Client;

use super::grouped::Group;
use super::questions::{Asked, Question};
use super::tally::{STAGES, Tally};
use super::{Answer, ReportError, Scope, Source};
use crate::ship::{self, ShipError, ShipOptions};

/// Time for the answer to one question, if nobody says otherwise.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// How often everything is asked, when events come or go meanwhile.
const TRIES_MAX: u32 = 3;
/// Moments that a row can have, microseconds since 1970; events outside them have the nearest.
const TIMES: [i64; 2] = [0, ship::TS_US_MAX];
const ROW_TIME: &str = "toUnixTimestamp64Micro(ts)";
/// The event's own moment; only asked for where a row's can be another.
const BODY_TIME: &str = "JSONExtractInt(body, 'time_us')";

/// The events of all gateways that deliver to one ClickHouse. Nothing is proven of them here.
#[derive(Debug, Clone)]
pub struct Warehouse {
    /// Where it is. How it is fed does not matter here.
    pub options: ShipOptions,
    /// Time for the answer to one question.
    pub answer_max: Duration,
}

impl Warehouse {
    /// Makes a source of a ClickHouse that events are delivered to; a minute for each of some twenty questions.
    pub fn new(options: ShipOptions) -> Self {
        Self { options, answer_max: ANSWER_MAX }
    }
}

impl Source for Warehouse {
    fn answer(&self, scope: &Scope, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, ReportError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| ShipError::Options(format!("no runtime: {error}")))?;
        let client = ship::client(&self.options)?.with_database(&self.options.database);
        let inquiry = Inquiry { client, timeout: self.answer_max, scope };
        runtime.block_on(async {
            inquiry.in_time(ship::check_version(&inquiry.client, &self.options.database)).await?;
            inquiry.answer(progress).await
        })
    }
}

struct Inquiry<'a> {
    client: Client,
    timeout: Duration,
    scope: &'a Scope,
}

/// Up to which number of each store events are counted.
struct Pins {
    stores: Vec<String>,
    numbers: Vec<u64>,
}

impl Inquiry<'_> {
    async fn answer(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Answer, ReportError> {
        let mut pins = None;
        for _ in 0..TRIES_MAX {
            let asked = self.asked(pins.as_ref());
            let [events, sum] = self.stamp(&asked, pins.as_ref()).await?;
            let once = Asked { repeated: true, ..asked.clone() };
            let [different, sum_once] = self.stamp(&once, pins.as_ref()).await?;
            let (asked, before) = if different == events { (asked, [events, sum]) } else { (once, [different, sum_once]) };
            let mut tally = Tally::new(self.scope.clone());
            let stages: Vec<&str> = STAGES.iter().map(|(stage, _)| *stage).collect();
            for (done, question) in (1_u64..).zip(Question::ALL) {
                self.ask(&asked.sql(question, &stages), pins.as_ref(), |group| tally.add_group(question, group)).await?;
                progress(different.saturating_mul(done) / Question::ALL.len() as u64, different);
            }
            if self.stamp(&asked, pins.as_ref()).await? == before {
                return Ok(Answer { report: tally.finish(), chain: None });
            }
            pins = Some(self.pins(&self.asked(None)).await?);
        }
        Err(ReportError::Moving { tries: TRIES_MAX })
    }

    fn asked(&self, pins: Option<&Pins>) -> Asked {
        let Scope { period, tenant, key_id } = self.scope;
        let [earliest, latest] = TIMES;
        let (from, to) = (period.from_us.clamp(earliest, latest), period.to_us.clamp(earliest, latest));
        let at_edge = period.from_us <= earliest || period.to_us > latest;
        let (time, until) = if at_edge { (BODY_TIME, "<=") } else { (ROW_TIME, "<") };
        // The row's moment finds the parts of the table, the event's own decides.
        let mut condition = format!("ts >= fromUnixTimestamp64Micro({from}) AND ts {until} fromUnixTimestamp64Micro({to})");
        if at_edge {
            condition += &format!(" AND {BODY_TIME} >= {} AND {BODY_TIME} < {}", period.from_us, period.to_us);
        }
        // An event that could not be read when it was sent: in no number, as in a report from the store.
        condition += " AND outcome != 'unreadable'";
        for (value, words) in [(tenant.is_some(), " AND tenant = ?"), (key_id.is_some(), " AND key_id = ?")] {
            condition += if value { words } else { "" };
        }
        condition += if pins.is_some() { " AND seq <= transform(toString(store_id), ?, ?, 0)" } else { "" };
        Asked { condition, time, repeated: false }
    }

    async fn stamp(&self, asked: &Asked, pins: Option<&Pins>) -> Result<[u64; 2], ReportError> {
        let mut found = [0; 2];
        self.ask(&asked.stamp_sql(), pins, |group| group.numbers().map(|numbers| found = numbers)).await?;
        Ok(found)
    }

    async fn pins(&self, asked: &Asked) -> Result<Pins, ReportError> {
        let mut pins = Pins { stores: Vec::new(), numbers: Vec::new() };
        self.ask(&asked.stores_sql(), None, |group| {
            let (store, number) = group.pair()?;
            pins.stores.push(store);
            pins.numbers.push(number);
            Ok(())
        })
        .await?;
        if pins.stores.is_empty() {
            // ClickHouse takes no empty list. No store is called so.
            (pins.stores, pins.numbers) = (vec![String::new()], vec![0]);
        }
        Ok(pins)
    }

    /// Asks, and hands on row after row.
    async fn ask(&self, sql: &str, pins: Option<&Pins>, mut take: impl FnMut(Group) -> Result<(), ReportError>) -> Result<(), ReportError> {
        let mut query = self.client.query(sql);
        for value in [&self.scope.tenant, &self.scope.key_id].into_iter().flatten() {
            query = query.bind(value);
        }
        if let Some(pins) = pins {
            query = query.bind(&pins.stores).bind(&pins.numbers);
        }
        let mut rows = query.fetch::<Group>().map_err(ShipError::from)?;
        while let Some(group) = self.in_time(async { rows.next().await.map_err(ShipError::from) }).await? {
            take(group)?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, ShipError>>) -> Result<T, ReportError> {
        let done = tokio::time::timeout(self.timeout, work).await;
        done.unwrap_or(Err(ShipError::TimedOut(self.timeout))).map_err(ReportError::from)
    }
}
