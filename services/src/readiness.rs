//! Whether this process should receive traffic, and if not, why.
//!
//! Each part with a precondition holds a [`Condition`] and reports its status; the process is ready
//! if each part is. A process is live as long as it answers at all, so there is no liveness here.
//!
//! Invariant: after [`Readiness::drain`] a process never becomes ready again.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::watch;

/// A cheap handle to the status of all parts.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<watch::Sender<State>>,
}

/// The status of all parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    draining: bool,
    conditions: Vec<(&'static str, Status)>,
}

/// The status of one part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "status", content = "reason")]
pub enum Status {
    /// The part works.
    Ready,
    /// The part works, with a problem that operators should know of. Counts as ready.
    Degraded(String),
    /// The part cannot work, for this reason.
    NotReady(String),
}

/// A part's handle to its own status.
#[derive(Debug)]
pub struct Condition {
    state: Arc<watch::Sender<State>>,
    index: usize,
}

impl Readiness {
    /// A readiness without parts: ready.
    pub fn new() -> Self {
        Self { state: Arc::new(watch::Sender::new(State::default())) }
    }

    /// Adds a part that is not ready yet, for this reason. Dropping the condition keeps its last
    /// status.
    pub fn condition(&self, name: &'static str, waiting_for: impl Into<String>) -> Condition {
        let mut index = 0;
        self.state.send_modify(|state| {
            index = state.conditions.len();
            state.conditions.push((name, Status::NotReady(waiting_for.into())));
        });
        Condition { state: Arc::clone(&self.state), index }
    }

    /// Marks the process as draining: it is not ready from here on.
    pub fn drain(&self) {
        self.state.send_if_modified(|state| !std::mem::replace(&mut state.draining, true));
    }

    /// The current status of all parts.
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Follows the status, for a health service that streams it.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// This part can do its work.
    pub fn ready(&self) {
        self.set(Status::Ready);
    }

    /// This part works, with a problem.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Status::Degraded(reason.into()));
    }

    /// This part cannot do its work.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Status::NotReady(reason.into()));
    }

    fn set(&self, status: Status) {
        self.state.send_if_modified(|state| {
            let Some((name, current)) = state.conditions.get_mut(self.index) else { return false };
            if *current == status {
                return false;
            }
            match &status {
                Status::Ready => tracing::info!(part = *name, "ready"),
                Status::Degraded(reason) => tracing::warn!(part = *name, reason, "degraded"),
                Status::NotReady(reason) => tracing::warn!(part = *name, reason, "not ready"),
            }
            *current = status;
            true
        });
    }
}

impl State {
    /// Whether this process should receive traffic.
    pub fn is_ready(&self) -> bool {
        !self.draining && self.conditions.iter().all(|(_, status)| !matches!(status, Status::NotReady(_)))
    }

    /// Whether the process is draining.
    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// The parts and their status, in the order in which they were added.
    pub fn conditions(&self) -> impl Iterator<Item = (&'static str, &Status)> {
        self.conditions.iter().map(|(name, status)| (*name, status))
    }
}

/// One line for the process and one for each part.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_ready() { "ready\n" } else { "not ready\n" })?;
        if self.draining {
            f.write_str("process: draining\n")?;
        }
        for (name, status) in &self.conditions {
            match status {
                Status::Ready => writeln!(f, "{name}: ready")?,
                Status::Degraded(reason) => writeln!(f, "{name}: degraded: {reason}")?,
                Status::NotReady(reason) => writeln!(f, "{name}: {reason}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_conditions_is_ready() {
        assert_eq!(Readiness::new().state().to_string(), "ready\n");
    }

    #[test]
    fn every_condition_has_to_be_ready() {
        let readiness = Readiness::new();
        let kafka = readiness.condition("kafka", "waiting for metadata");
        let listener = readiness.condition("listener", "not bound");
        assert_eq!(
            readiness.state().to_string(),
            "not ready\nkafka: waiting for metadata\nlistener: not bound\n"
        );
        listener.ready();
        assert!(!readiness.state().is_ready());
        kafka.ready();
        assert!(readiness.state().is_ready());
        kafka.not_ready("no broker answers");
        assert_eq!(readiness.state().to_string(), "not ready\nkafka: no broker answers\nlistener: ready\n");
    }

    #[test]
    fn a_degraded_part_still_gets_traffic() {
        let readiness = Readiness::new();
        readiness.condition("kafka", "waiting for metadata").degraded("topics could not be refreshed");
        assert_eq!(readiness.state().to_string(), "ready\nkafka: degraded: topics could not be refreshed\n");
    }

    #[test]
    fn a_draining_process_is_not_ready_whatever_its_parts_say() {
        let readiness = Readiness::new();
        let kafka = readiness.condition("kafka", "waiting for metadata");
        readiness.drain();
        kafka.ready();
        assert_eq!(readiness.state().to_string(), "not ready\nprocess: draining\nkafka: ready\n");
    }

    #[test]
    fn watchers_see_changes_and_only_changes() {
        let readiness = Readiness::new();
        let kafka = readiness.condition("kafka", "waiting for metadata");
        let mut watch = readiness.watch();
        watch.mark_unchanged();
        kafka.not_ready("waiting for metadata");
        assert!(!watch.has_changed().expect("the sender lives"));
        kafka.ready();
        assert!(watch.has_changed().expect("the sender lives"));
    }
}
