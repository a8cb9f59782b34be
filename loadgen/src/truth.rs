//! Compares what all connections received with the acknowledged events.

use crate::{
    account::{Account, Findings, Received, Records},
    conflation::{Balance, Published},
    layout::Layout,
    ledger::Ledger,
    plan::Plan,
    report::Violations,
};

/// The outcome of publishing, by key.
#[derive(Debug)]
pub(crate) struct Truth<'a> {
    plan: &'a Plan,
    ledger: &'a Ledger,
    keys: Vec<KeyTruth>,
}

#[derive(Debug, Clone, Copy, Default)]
struct KeyTruth {
    acknowledged: u64,
    /// Acknowledged events due in the measured period.
    measured: u64,
    /// Neither acknowledged nor refused.
    unknown: u64,
    /// One more than the index of the last acknowledged event.
    next: u64,
}

impl<'a> Truth<'a> {
    /// Counts the outcomes of each key's events. Events due at `measured_from_ns` after the start
    /// or later are measured.
    pub(crate) fn new(plan: &'a Plan, ledger: &'a Ledger, keys: u32, measured_from_ns: u64) -> Self {
        let mut all = vec![KeyTruth::default(); keys as usize];
        for number in 0..plan.events() {
            let event = plan.event(number);
            let Some(key) = all.get_mut(event.key as usize) else { continue };
            if ledger.is_acknowledged(number) {
                key.acknowledged += 1;
                key.measured += u64::from(plan.due_ns(number) >= measured_from_ns);
                key.next = event.sequence + 1;
            } else if !ledger.is_refused(number) {
                key.unknown += 1;
            }
        }
        Self { plan, ledger, keys: all }
    }

    /// Returns how many records all connections together should receive.
    pub(crate) fn expected(&self, layout: &Layout) -> u64 {
        self.keys_of(layout).map(|key| key.acknowledged).sum()
    }

    /// Returns how many of them are in the measured period.
    pub(crate) fn expected_measured(&self, layout: &Layout) -> u64 {
        self.keys_of(layout).map(|key| key.measured).sum()
    }

    /// Returns the number of acknowledged events of the measured period, whether or not anybody
    /// subscribes to them.
    pub(crate) fn measured(&self) -> u64 {
        self.keys.iter().map(|key| key.measured).sum()
    }

    /// Returns the keys of all channels of all connections, once per subscriber.
    fn keys_of<'s>(&'s self, layout: &'s Layout) -> impl Iterator<Item = &'s KeyTruth> {
        let keys = (0..layout.connections()).flat_map(|number| layout.channels_of(number)).flatten();
        keys.filter_map(|key| self.keys.get(key as usize))
    }

    /// Returns the violations. An event that was never acknowledged may be missing; a refused one
    /// must be.
    pub(crate) fn judge(&self, accounts: &[Account], max_rate: Option<f64>) -> Violations {
        let mut violations = Violations::default();
        for account in accounts {
            violations.repeated += account.findings.repeated;
            violations.out_of_order += account.findings.out_of_order;
            violations.corrupt += account.findings.corrupt;
            for channel in &account.channels {
                self.judge_channel(channel, max_rate, &mut violations);
            }
            if let Some(ending) = &account.ended {
                violations.connections_ended += 1;
                *violations.endings.entry(ending.clone()).or_default() += 1;
            }
        }
        violations
    }

    fn judge_channel(&self, channel: &Received, max_rate: Option<f64>, violations: &mut Violations) {
        match &channel.records {
            Records::Lossless(sequences) => {
                for (key, sequence) in channel.keys.clone().zip(sequences) {
                    let count = self.plan.count(key);
                    let missing = sequence.missing(count).map(|place| self.plan.number_of(key, place));
                    violations.lost +=
                        missing.filter(|number| self.ledger.is_acknowledged(*number)).count() as u64;
                    if self.ledger.refused() > 0 {
                        let arrived = (0..count).filter(|place| sequence.has(*place));
                        let arrived = arrived.map(|place| self.plan.number_of(key, place));
                        violations.refused_but_delivered +=
                            arrived.filter(|number| self.ledger.is_refused(*number)).count() as u64;
                    }
                }
            }
            Records::Conflated { keys, skipped } => {
                let truth = || channel.keys.clone().filter_map(|key| self.keys.get(key as usize));
                let published = Published {
                    acknowledged: truth().map(|key| key.acknowledged).sum(),
                    unknown: truth().map(|key| key.unknown).sum(),
                };
                let balance = Balance::of(keys.iter().map(|key| key.deliveries).sum(), *skipped, published);
                violations.unaccounted += balance.unaccounted;
                violations.overcounted += balance.overcounted;
                violations.stale +=
                    truth().zip(keys).filter(|(truth, key)| key.next < truth.next).count() as u64;
                violations.over_rate +=
                    keys.iter().filter(|key| max_rate.is_some_and(|rate| key.is_over(rate))).count() as u64;
            }
        }
    }
}

/// Returns the sum of all connections' findings.
pub(crate) fn findings<'a>(accounts: impl Iterator<Item = &'a Account>) -> Findings {
    accounts.fold(Findings::default(), |mut all, account| {
        all.add(&account.findings);
        all
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A run of 4 events of one key: 0 and 1 were acknowledged, 2 was refused, and 3 is unknown.
    fn violations(arrived: &[u64], skipped: Option<u64>) -> Violations {
        let plan = Plan::new(4, 1, 1, Duration::from_secs(1));
        let ledger = Ledger::new(plan.events());
        ledger.acknowledge(0);
        ledger.acknowledge(1);
        ledger.refuse(2, "too large");
        ledger.unknown("gone");
        let mut channel = Received::new(0..1, skipped.is_some());
        for number in arrived {
            channel.observe(0, *number, 0).expect("the channel has the key");
        }
        channel.skip(skipped.unwrap_or_default());
        let account = Account { channels: vec![channel], ..Account::default() };
        Truth::new(&plan, &ledger, 1, 0).judge(&[account], None)
    }

    #[track_caller]
    fn check(arrived: &[u64], lost: u64, refused_but_delivered: u64) {
        let violations = violations(arrived, None);
        assert_eq!((violations.lost, violations.refused_but_delivered), (lost, refused_but_delivered));
        assert_eq!(violations.is_empty(), lost + refused_but_delivered == 0);
    }

    #[track_caller]
    fn check_conflated(arrived: &[u64], skipped: u64, unaccounted: u64, overcounted: u64, stale: u64) {
        let violations = violations(arrived, Some(skipped));
        assert_eq!(
            (violations.unaccounted, violations.overcounted, violations.stale),
            (unaccounted, overcounted, stale)
        );
        assert_eq!(violations.is_empty(), unaccounted + overcounted + stale == 0);
    }

    #[test]
    fn acknowledged_events_must_arrive() {
        check(&[0, 1], 0, 0);
        check(&[0], 1, 0);
        check(&[1], 1, 0);
        check(&[], 2, 0);
    }

    #[test]
    fn an_unknown_event_may_arrive_and_a_refused_one_may_not() {
        check(&[0, 1, 3], 0, 0);
        check(&[0, 1, 2], 0, 1);
    }

    #[test]
    fn a_conflated_channel_adds_up_and_ends_with_the_latest() {
        check_conflated(&[0, 1], 0, 0, 0, 0);
        check_conflated(&[1], 1, 0, 0, 0);
        check_conflated(&[3], 2, 0, 0, 0);
        check_conflated(&[1], 0, 1, 0, 0);
        check_conflated(&[1], 3, 0, 1, 0);
        check_conflated(&[0], 1, 0, 0, 1);
    }

    #[test]
    fn a_connection_that_ended_is_a_violation() {
        let (plan, ledger) = (Plan::new(4, 1, 1, Duration::from_secs(1)), Ledger::new(4));
        let account = Account { ended: Some("1006".into()), ..Account::default() };
        let violations = Truth::new(&plan, &ledger, 1, 0).judge(&[account], None);
        assert!(!violations.is_empty());
        assert_eq!(violations.endings.into_iter().collect::<Vec<_>>(), [("1006".into(), 1)]);
    }

    #[test]
    fn every_subscriber_of_a_key_should_get_its_records() {
        let layout = Layout::new(&crate::cli::Cli::of("--keys 2 --connections 5"));
        let plan = Plan::new(4, 2, 1, Duration::from_secs(1));
        let ledger = Ledger::new(4);
        // Two of key 0, with three subscribers, and one of key 1, with two.
        ledger.acknowledge(0);
        ledger.acknowledge(1);
        ledger.acknowledge(2);
        // A quarter of a second apart, and only the last was due after half a second.
        let truth = Truth::new(&plan, &ledger, 2, 500_000_000);
        assert_eq!((truth.expected(&layout), truth.expected_measured(&layout)), (2 * 3 + 2, 3));
        assert_eq!(truth.measured(), 1);
    }
}
