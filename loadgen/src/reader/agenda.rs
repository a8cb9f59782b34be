//! A connection's scheduled faults: to stop reading for a while, or to be dropped.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::time::sleep_until;

use super::Shared;

/// A connection's scheduled faults.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agenda {
    /// When to stop reading and when to resume, after the start of the schedule.
    silence: Option<(Duration, Duration)>,
    /// When to drop the connection.
    drop: Option<Duration>,
}

/// One scheduled fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Stop reading until this time.
    StopReading(Duration),
    /// Drop the connection.
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

    /// Returns the next action and its time.
    fn next(&self) -> Option<(Duration, Action)> {
        let silence = self.silence.map(|(from, until)| (from, Action::StopReading(until)));
        let drop = self.drop.map(|at| (at, Action::Drop));
        silence.into_iter().chain(drop).min_by_key(|(at, _)| *at)
    }

    /// Waits until the next action is due; forever if there is none.
    pub(super) fn due(&self, shared: Arc<Shared>) -> impl Future<Output = Action> + use<> {
        let next = self.next();
        async move {
            let Some((at, action)) = next else { return pending().await };
            shared.signals.started.cancelled().await;
            sleep_until(shared.moment(at)).await;
            action
        }
    }

    /// Removes an action.
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
    fn actions_are_ordered_by_time_and_happen_once() {
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
