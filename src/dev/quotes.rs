//! Publishes the trades of the simulated market, through ingest like any other backend.
//!
//! One batch is in flight at a time: while Kafka is slow the market waits, and does not make up for
//! the time later.

use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;
use tailcast_proto::ingest::v1::{Message, PublishRequest, outcome};
use tailcast_services::lifecycle::Lifecycle;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    QUOTES,
    market::{Market, Quote},
};
use crate::publisher::Publisher;

/// Maximum time between two batches: short enough to look continuous.
const TICK_MAX: Duration = Duration::from_millis(50);

/// The market, and the publisher of its quotes.
#[derive(Debug)]
pub(super) struct Quotes {
    publisher: Publisher,
    market: Market,
    rng: Rng,
    /// Trades per second and symbol.
    rate: f64,
    /// Whether the last batch failed: an outage is logged once.
    failing: bool,
}

impl Quotes {
    /// Returns a market with `rate` trades per second and symbol.
    pub(super) fn new(publisher: Publisher, rate: f64) -> Self {
        Self { publisher, market: Market::open(), rng: Rng::new(), rate, failing: false }
    }

    /// Trades until the process drains.
    pub(super) async fn run(mut self, lifecycle: Lifecycle) {
        let mut ticks = interval(tick(self.rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut before = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = lifecycle.draining() => return,
                _ = ticks.tick() => {}
            }
            let elapsed = before.elapsed().min(2 * TICK_MAX);
            before = Instant::now();
            let quotes = self.market.trade(self.rate, elapsed, &mut self.rng);
            if !quotes.is_empty() {
                self.publish(&quotes).await;
            }
        }
    }

    async fn publish(&mut self, quotes: &[Quote]) {
        let messages = quotes.iter().map(message).collect();
        let failed = match self.publisher.publish(PublishRequest { messages }).await {
            Ok(answer) => answer.outcomes.into_iter().find_map(|outcome| match outcome.result {
                Some(outcome::Result::Acknowledged(_)) => None,
                Some(outcome::Result::Refused(refused)) => Some(refused.detail),
                Some(outcome::Result::Unknown(unknown)) => Some(unknown.detail),
                None => Some("ingest returned no outcome".to_owned()),
            }),
            Err(status) => Some(status.message().to_owned()),
        };
        match (&failed, self.failing) {
            (Some(error), false) => tracing::warn!(error, "cannot publish quotes"),
            (None, true) => tracing::info!("quotes are published again"),
            _ => {}
        }
        self.failing = failed.is_some();
    }
}

/// Returns the time between two batches: a symbol trades at most once in each, so it must be well
/// below `1 / rate`.
fn tick(rate: f64) -> Duration {
    let quarter = Duration::try_from_secs_f64(0.25 / rate).unwrap_or(TICK_MAX);
    quarter.clamp(Duration::from_millis(1), TICK_MAX)
}

fn message(quote: &Quote) -> Message {
    Message {
        topic: QUOTES.to_owned(),
        key: Some(Bytes::from_static(quote.symbol.as_bytes())),
        value: Some(serde_json::to_vec(quote).expect("a quote has text and finite numbers").into()),
        content_type: "application/json".to_owned(),
        ..Message::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_never_longer_than_a_quarter_of_the_time_between_two_trades() {
        assert_eq!(tick(0.1), TICK_MAX);
        assert_eq!(tick(6.0), Duration::from_secs_f64(0.25 / 6.0));
        assert_eq!(tick(100.0), Duration::from_micros(2_500));
    }

    #[test]
    fn a_quote_is_a_json_object_under_its_symbol() {
        let quote =
            Quote { symbol: "AAPL", bid: 227.44, ask: 227.5, last: 227.45, volume: 120, change: -0.13 };
        let message = message(&quote);
        assert_eq!(message.key.as_deref(), Some(&b"AAPL"[..]));
        let value = message.value.expect("a quote is no tombstone");
        let expected =
            r#"{"symbol":"AAPL","bid":227.44,"ask":227.5,"last":227.45,"volume":120,"change":-0.13}"#;
        assert_eq!(std::str::from_utf8(&value), Ok(expected));
    }
}
