//! The hands of the plan: a thread that says how many events are due.
//!
//! A thread of its own, because tokio's timers are a millisecond coarse and would be late exactly when the runtime is busy.
//! It says a number and waits for nobody: publishers that cannot follow fall behind, and their events' latency shows it.

use std::{
    io,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::plan::Plan;

/// The least time between two turns. At more than 4,000 events per second several become due together.
const TICK_MIN: Duration = Duration::from_micros(250);

/// Starts the clock. The number of due events grows from `start` on, up to all of the plan's, and the thread ends.
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
