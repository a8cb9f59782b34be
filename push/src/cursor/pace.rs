//! The rate limit of a conflated subscription.
//!
//! Deliveries come in rounds. A round delivers the latest record of each key up to the partition's
//! head when the round began, and the next round begins an interval later. So no key is delivered
//! more often than the limit allows, offsets only grow, and after a pause the first record is
//! delivered at once.

use std::time::{Duration, Instant};

use tailcast_proto::Offset;

/// The rate limit of a subscription in one partition.
#[derive(Debug)]
pub(crate) struct DeliveryPace {
    interval: Duration,
    /// When the next round may begin; `None` before the first delivery.
    due: Option<Instant>,
    /// The end of the current round.
    until: Option<Offset>,
}

impl DeliveryPace {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, due: None, until: None }
    }

    /// Begins a round up to `head`, or continues the current one. Returns its end.
    ///
    /// # Errors
    ///
    /// The time at which the next round may begin, if that is later.
    pub(crate) fn round(&mut self, now: Instant, head: Offset) -> Result<Offset, Instant> {
        if let Some(until) = self.until {
            return Ok(until);
        }
        if let Some(due) = self.due.filter(|due| *due > now) {
            return Err(due);
        }
        Ok(*self.until.insert(head))
    }

    /// Notes the progress of the round, and whether it has delivered anything.
    pub(crate) fn reached(&mut self, next: Offset, has_delivered: bool, now: Instant) {
        self.until = self.until.filter(|until| next < *until);
        if has_delivered {
            self.due = Some(now + self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_at_once_after_a_pause_and_an_interval_after_the_last_delivery() {
        let (mut pace, start) = (DeliveryPace::new(Duration::from_millis(100)), Instant::now());
        let offset = |offset| Offset::new(offset).expect("it is an offset");
        let at = |ms| start + Duration::from_millis(ms);

        assert_eq!(pace.round(at(0), offset(5)), Ok(offset(5)), "the first record comes at once");
        pace.reached(offset(3), true, at(0));
        assert_eq!(pace.round(at(1), offset(9)), Ok(offset(5)), "a round ends where it was to end");
        pace.reached(offset(5), true, at(1));
        assert_eq!(pace.round(at(2), offset(9)), Err(at(101)));
        assert_eq!(pace.round(at(101), offset(9)), Ok(offset(9)));
        pace.reached(offset(9), false, at(101));
        assert_eq!(
            pace.round(at(102), offset(10)),
            Ok(offset(10)),
            "nothing was delivered, so nothing is owed"
        );
    }
}
