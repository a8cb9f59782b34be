//! The clock of the plan: a thread that announces how many events are due.
//!
//! It has its own thread because tokio's timers have a resolution of a millisecond, and would be
//! late exactly when the runtime is busy. It waits for nobody: publishers that cannot keep up fall
//! behind, and the latency of their events shows it.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::plan::Plan;

/// The shortest time between two ticks. Above 4,000 events per second, several become due together.
const TICK_MIN: Duration = Duration::from_micros(250);

/// Starts the clock. The number of due events grows from `start` on to the plan's total; then the
/// thread ends.
pub(crate) fn start(plan: Arc<Plan>, start: Instant) -> io::Result<watch::Receiver<u64>> {
    let (due, receiver) = watch::channel(0);
    thread::Builder::new().name("clock".into()).spawn(move || tick(&plan, start, &due))?;
    Ok(receiver)
}

fn tick(plan: &Plan, start: Instant, due: &watch::Sender<u64>) {
    let mut next = start;
    loop {
        wait_until(next);
        let count = plan.due_by(start.elapsed());
        let changed = |current: &mut u64| std::mem::replace(current, count) != count;
        due.send_if_modified(changed);
        if count >= plan.events() || due.is_closed() {
            return;
        }
        next = (start + Duration::from_nanos(plan.due_ns(count))).max(next + TICK_MIN);
    }
}

fn wait_until(time: Instant) {
    loop {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}
