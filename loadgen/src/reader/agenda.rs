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
pub(super) enum Action {
    /// Stop reading until then.
    StopReading(Duration),
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
    fn next(&self) -> Option<(Duration, Action)> {
        let silence = self.silence.map(|(from, until)| (from, Action::StopReading(until)));
        let drop = self.drop.map(|at| (at, Action::Drop));
        silence.into_iter().chain(drop).min_by_key(|(at, _)| *at)
    }

    /// Waits until the next step is due; forever, where there is none.
    pub(super) fn due(&self, shared: Arc<Shared>) -> impl Future<Output = Action> + use<> {
        let next = self.next();
        async move {
            let Some((at, action)) = next else { return pending().await };
            shared.signals.started.cancelled().await;
            sleep_until(shared.moment(at)).await;
            action
        }
    }

    /// Strikes a step out.
    pub(super) fn take(&mut self, action: Action) {
        match action {
            Action::StopReading(_) => self.silence = None,
            Action::Drop => self.drop = None,
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
        let mut actions = Vec::new();
        while let Some((_, action)) = agenda.next() {
            agenda.take(action);
            actions.push(action);
        }
        assert_eq!(actions, [Action::Drop, Action::StopReading(at(9))]);
    }
}
