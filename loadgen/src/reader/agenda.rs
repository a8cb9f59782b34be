//! What a connection is to do at set times, whatever happens: stop reading for a while, or be dropped.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::sleep_until;

use super::Shared;

/// What a connection is to do, in order.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agenda {
    /// When to stop reading, and when to read again, after the start of the schedule.
    silence: Option<(Duration, Duration)>,
    /// When to be dropped.
    drop: Option<Duration>,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Stop reading until then.
    FallSilent(Duration),
    /// Be dropped.
    Drop,
}

impl Agenda {
    pub(super) fn new(shared: &Shared, slow: bool) -> Self {
        let silence = shared.slow.as_ref().filter(|_| slow);
        Self {
            silence: silence.map(|slow| (slow.silence.start, slow.silence.end)),
            drop: shared.storm.map(|storm| Duration::from_nanos(storm.drop_ns)),
        }
    }

    /// Returns what is next, and when.
    fn next(&self) -> Option<(Duration, Step)> {
        let silence = self.silence.map(|(from, until)| (from, Step::FallSilent(until)));
        let drop = self.drop.map(|at| (at, Step::Drop));
        silence.into_iter().chain(drop).min_by_key(|(at, _)| *at)
    }

    /// Waits until the next step is due; forever, where there is none.
    pub(super) fn due(&self, shared: Arc<Shared>) -> impl Future<Output = Step> + use<> {
        let next = self.next();
        async move {
            let Some((at, step)) = next else { return pending().await };
            shared.signals.started.cancelled().await;
            sleep_until(shared.moment(at)).await;
            step
        }
    }

    /// Strikes a step out.
    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::FallSilent(_) => self.silence = None,
            Step::Drop => self.drop = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_the_order_of_their_times_and_once() {
        let at = Duration::from_secs;
        let mut agenda = Agenda { silence: Some((at(5), at(9))), drop: Some(at(3)) };
        let mut steps = Vec::new();
        while let Some((_, step)) = agenda.next() {
            agenda.take(step);
            steps.push(step);
        }
        assert_eq!(steps, [Step::Drop, Step::FallSilent(at(9))]);
    }
}
