//! The reconnect storm as arithmetic: all connections are dropped at once, and reconnect when each
//! has missed enough records.
//!
//! Knows only the plan: the missed records follow from the events due meanwhile.

use std::time::Duration;

use crate::{cli::Cli, layout::Layout, plan::Plan};

/// When all connections are dropped, and when each has missed enough records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Storm {
    /// When all are dropped, in nanoseconds after the start of the schedule.
    pub(crate) drop_ns: u64,
    /// How many events are due by then.
    pub(crate) dropped_after: u64,
    /// How many events are due when each connection has missed enough.
    pub(crate) behind_after: u64,
}

impl Storm {
    /// Returns the configured storm, if there is one. Connections have missed enough after
    /// `behind_after` events; if the plan has fewer events, that never happens.
    pub(crate) fn new(cli: &Cli, plan: &Plan, layout: &Layout) -> Option<Self> {
        let drop = cli.load.warmup + cli.faults.storm_at?;
        let dropped_after = plan.due_by(drop);
        let channels: Vec<_> = (0..layout.distinct()).map(|number| layout.channels_of(number)).collect();
        let missed = |events: u64| {
            let of_key = |key| plan.count_among(key, events) - plan.count_among(key, dropped_after);
            channels.iter().map(|channels| channels.iter().cloned().flatten().map(of_key).sum::<u64>()).min()
        };
        let (mut low, mut high) = (dropped_after, dropped_after.saturating_mul(2).max(1 << 16));
        while missed(high).is_some_and(|missed| missed < cli.faults.storm_behind) {
            high = high.saturating_mul(2);
        }
        while low < high {
            let middle = low + (high - low) / 2;
            if missed(middle).is_some_and(|missed| missed < cli.faults.storm_behind) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let drop_ns = u64::try_from(drop.as_nanos()).unwrap_or(u64::MAX);
        Some(Self { drop_ns, dropped_after, behind_after: low })
    }
}

/// Checks that the configured storm fits into the run.
pub(crate) fn check(cli: &Cli) -> Result<(), String> {
    let plan = Plan::new(cli.load.rate, cli.load.keys, cli.publisher_count(), cli.load.length());
    let Some(storm) = Storm::new(cli, &plan, &Layout::new(cli)) else { return Ok(()) };
    if storm.behind_after <= plan.events() && storm.dropped_after < plan.events() {
        return Ok(());
    }
    let needed = Duration::from_nanos(plan.due_ns(storm.behind_after));
    Err(format!(
        "each connection is {} records behind {} s after the warm-up; use at least --duration {}s, a higher \
         --rate, or fewer --keys",
        cli.faults.storm_behind,
        needed.saturating_sub(cli.load.warmup).as_secs(),
        needed.saturating_sub(cli.load.warmup).as_secs_f64().ceil()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(arguments: &str, expected: (u64, u64)) {
        let cli = Cli::of(&format!("--warmup 5s {arguments}"));
        let plan = Plan::new(cli.load.rate, cli.load.keys, cli.publisher_count(), cli.load.length());
        let storm = Storm::new(&cli, &plan, &Layout::new(&cli)).expect("it is asked for");
        assert_eq!((storm.dropped_after, storm.behind_after), expected, "{arguments}");
    }

    #[test]
    fn each_connection_misses_as_many_records_as_asked() {
        // 15 s at 100/s, and one event due at exactly 15 s.
        check("--storm-at 10s --storm-behind 10 --keys 1 --rate 100", (1501, 1511));
        check("--storm-at 10s --storm-behind 10 --keys 50 --rate 100", (1501, 2001));
        check(
            "--storm-at 10s --storm-behind 10 --keys 50 --rate 100 --channels-per-connection 50",
            (1501, 1511),
        );
        check("--storm-at 10s --storm-behind 10 --keys 50 --rate 100 --channel-form all", (1501, 1511));
        check("--storm-at 10s --storm-behind 10 --keys 50 --rate 100 --connections 1", (1501, 2001));
    }
}
