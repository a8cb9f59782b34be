//! What all connections received, held against what was acknowledged.

use std::collections::HashMap;

use crate::{ledger::Ledger, plan::Plan, report::Violations, subscribe::Account};

/// Returns how many deliveries there should be on connections with these keys; a key is there once for each connection.
pub(crate) fn expected(plan: &Plan, ledger: &Ledger, keys: impl Iterator<Item = u32>) -> u64 {
    let mut acknowledged = HashMap::<u32, u64>::new();
    for number in (0..plan.events()).filter(|number| ledger.is_acknowledged(*number)) {
        *acknowledged.entry(plan.event(number).key).or_default() += 1;
    }
    keys.filter_map(|key| acknowledged.get(&key)).sum()
}

/// Returns what was wrong. An event that was never acknowledged may be missing; one that was refused has to be.
pub(crate) fn judge(plan: &Plan, ledger: &Ledger, accounts: &[Account]) -> Violations {
    let mut violations = Violations::default();
    for account in accounts {
        violations.repeated += account.findings.repeated;
        violations.out_of_order += account.findings.out_of_order;
        violations.corrupt += account.findings.corrupt;
        for (key, sequence) in &account.keys {
            let count = plan.count(*key);
            let missing = sequence.missing(count).map(|place| plan.number_of(*key, place));
            violations.lost += missing.filter(|number| ledger.is_acknowledged(*number)).count() as u64;
            if ledger.refused() > 0 {
                let arrived = (0..count).filter(|place| sequence.has(*place));
                let arrived = arrived.map(|place| plan.number_of(*key, place));
                violations.refused_but_delivered +=
                    arrived.filter(|number| ledger.is_refused(*number)).count() as u64;
            }
        }
        if let Some(ending) = &account.ended {
            violations.connections_ended += 1;
            *violations.endings.entry(ending.clone()).or_default() += 1;
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{subscribe::Findings, verify::Sequence};

    /// A run of 4 events of one key, of which 0 and 1 were acknowledged, 2 refused, and 3 is unknown.
    #[track_caller]
    fn check(arrived: &[u64], lost: u64, refused_but_delivered: u64) {
        let plan = Plan::new(4, 1, 1, Duration::from_secs(1));
        let ledger = Ledger::new(plan.events());
        ledger.acknowledge(0);
        ledger.acknowledge(1);
        ledger.refuse(2, "too large");
        ledger.unknown("gone");
        assert_eq!(expected(&plan, &ledger, [0, 0, 7].into_iter()), 4);
        let mut sequence = Sequence::default();
        for number in arrived {
            sequence.observe(*number);
        }
        let account = Account { keys: vec![(0, sequence)], findings: Findings::default(), ended: None };
        let violations = judge(&plan, &ledger, &[account]);
        assert_eq!((violations.lost, violations.refused_but_delivered), (lost, refused_but_delivered));
        assert_eq!(violations.is_empty(), lost + refused_but_delivered == 0);
    }

    #[test]
    fn what_was_acknowledged_has_to_arrive() {
        check(&[0, 1], 0, 0);
        check(&[0], 1, 0);
        check(&[1], 1, 0);
        check(&[], 2, 0);
    }

    #[test]
    fn what_is_unknown_may_arrive_and_what_was_refused_may_not() {
        check(&[0, 1, 3], 0, 0);
        check(&[0, 1, 2], 0, 1);
    }

    #[test]
    fn a_connection_that_ended_is_a_violation() {
        let plan = Plan::new(4, 1, 1, Duration::from_secs(1));
        let account = Account { keys: vec![], findings: Findings::default(), ended: Some("1006".into()) };
        let violations = judge(&plan, &Ledger::new(4), &[account]);
        assert!(!violations.is_empty());
        assert_eq!(violations.endings.into_iter().collect::<Vec<_>>(), [("1006".into(), 1)]);
    }
}
