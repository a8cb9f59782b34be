//! Time is tokio's paused clock: it jumps to the next deadline when every task waits.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Ending, Lifecycle, Phase, Running, TaskFailure, Tasks};

const GRACE: Duration = Duration::from_secs(25);

#[tokio::test(start_paused = true)]
async fn a_process_with_nothing_left_ends_clean_at_once() {
    let lifecycle = Lifecycle::new();
    let begin = tokio::time::Instant::now();
    assert!(lifecycle.finish(GRACE).await.is_clean());
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn finishing_waits_for_tasks_that_end_after_draining_began() {
    let lifecycle = Lifecycle::new();
    let waiter = lifecycle.clone();
    lifecycle.spawn("session", async move {
        waiter.draining().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
    });
    let begin = tokio::time::Instant::now();
    assert!(lifecycle.finish(GRACE).await.is_clean());
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
}

#[tokio::test(start_paused = true)]
async fn a_process_closes_when_it_drains_and_the_last_hold_is_dropped() {
    let lifecycle = Lifecycle::new();
    let begin = tokio::time::Instant::now();
    drop(lifecycle.hold().expect("it does not drain"));
    assert!(!lifecycle.is_closing(), "it does not drain");
    let [first, second] = [(); 2].map(|()| lifecycle.hold().expect("it does not drain"));
    let waiter = lifecycle.clone();
    lifecycle.supervise("feed", async move {
        waiter.closing().await;
        Ok::<_, io::Error>(())
    });
    lifecycle.drain();
    drop(first);
    assert!(!lifecycle.is_closing(), "one session is left");
    lifecycle.spawn("session", async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        drop(second);
    });
    assert!(lifecycle.finish(GRACE).await.is_clean());
    assert!(lifecycle.is_closing());
    // On the paused clock, polling would have added its interval.
    assert_eq!(begin.elapsed(), Duration::from_secs(3));
}

#[tokio::test]
async fn threads_that_sleep_are_woken_when_the_process_closes() {
    let lifecycle = Lifecycle::new();
    let (wake, woken) = std::sync::mpsc::sync_channel::<()>(1);
    let hold = lifecycle.hold().expect("it does not drain");
    lifecycle.on_closing("feed-end", move || wake.send(()).expect("the thread sleeps"));
    let thread = lifecycle.clone();
    lifecycle
        .supervise_thread("feed", move || {
            woken.recv().map_err(io::Error::other)?;
            assert!(thread.has_reached(Phase::Draining) && thread.has_reached(Phase::Closing));
            Ok::<_, io::Error>(())
        })
        .expect("a thread can be started");
    lifecycle.drain();
    assert!(!lifecycle.has_reached(Phase::Closing));
    drop(hold);
    assert!(lifecycle.finish(GRACE).await.is_clean());
}

#[tokio::test]
async fn a_draining_process_accepts_no_hold_and_closes_once() {
    // A connection that was accepted while the drain began took a hold after the threads had been
    // woken to end: they saw a process that did not close, and slept for ever.
    let lifecycle = Lifecycle::new();
    lifecycle.drain();
    assert!(lifecycle.hold().is_none());
    assert!(lifecycle.is_closing());
    let late = lifecycle.inner.holds.token();
    assert!(lifecycle.is_closing(), "a late request for a hold does not undo the phase");
    drop(late);
}

#[tokio::test(start_paused = true)]
async fn a_process_without_holds_closes_as_soon_as_it_drains() {
    let lifecycle = Lifecycle::new();
    lifecycle.drain();
    lifecycle.closing().await;
    assert!(lifecycle.is_closing());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_names_the_tasks_that_are_left() {
    let lifecycle = Lifecycle::new();
    for _ in 0..3 {
        lifecycle.spawn("session", std::future::pending());
    }
    lifecycle.spawn("feed", std::future::pending());
    lifecycle.spawn("short", async {});
    let ending = lifecycle.finish(GRACE).await;
    assert_eq!(ending.to_string(), "still running at the deadline: 1 × feed, 3 × session");
    let Ending::Deadline { left } = ending else { panic!("{ending}") };
    assert_eq!(left[1], Running { task: "session", count: 3 });
}

#[tokio::test(start_paused = true)]
async fn a_supervised_task_that_fails_drains_the_process() {
    let lifecycle = Lifecycle::new();
    lifecycle.supervise("feed", async { Err(io::Error::other("no route to the brokers")) });
    lifecycle.draining().await;
    let ending = lifecycle.finish(GRACE).await;
    assert_eq!(ending.to_string(), "task `feed` failed: no route to the brokers");
}

#[tokio::test(start_paused = true)]
async fn a_supervised_task_that_ends_early_drains_the_process() {
    let lifecycle = Lifecycle::new();
    lifecycle.supervise("feed", async { Ok::<_, io::Error>(()) });
    lifecycle.draining().await;
    let ending = lifecycle.finish(GRACE).await;
    assert!(matches!(ending, Ending::Failed { task: "feed", cause: TaskFailure::EndedEarly }), "{ending}");
}

#[tokio::test(start_paused = true)]
async fn a_supervised_task_that_panics_drains_the_process() {
    let lifecycle = Lifecycle::new();
    lifecycle.supervise::<_, io::Error>("feed", async { panic!("index {} is out of range", 7) });
    lifecycle.draining().await;
    let ending = lifecycle.finish(GRACE).await;
    assert_eq!(ending.to_string(), "task `feed` panicked: index 7 is out of range");
}

#[tokio::test(start_paused = true)]
async fn a_supervised_task_may_end_once_draining_began() {
    let lifecycle = Lifecycle::new();
    let waiter = lifecycle.clone();
    lifecycle.supervise("listener", async move {
        waiter.draining().await;
        Ok::<_, io::Error>(())
    });
    assert!(lifecycle.finish(GRACE).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_is_the_one_reported() {
    let lifecycle = Lifecycle::new();
    lifecycle.supervise("feed", async { Err(io::Error::other("first")) });
    let waiter = lifecycle.clone();
    lifecycle.supervise("sessions", async move {
        waiter.draining().await;
        Err(io::Error::other("second"))
    });
    assert_eq!(lifecycle.finish(GRACE).await.to_string(), "task `feed` failed: first");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_one_session_leaves_the_process_alone() {
    let lifecycle = Lifecycle::new();
    let (begun, has_begun) = oneshot::channel::<()>();
    lifecycle.spawn("session", async move {
        let _dropped_by_the_panic = begun;
        panic!("this session only");
    });
    assert!(has_begun.await.is_err());
    assert!(!lifecycle.is_draining());
    assert!(lifecycle.finish(GRACE).await.is_clean());
}

#[tokio::test]
async fn finishing_waits_for_supervised_threads() {
    let lifecycle = Lifecycle::new();
    let (begun, has_begun) = oneshot::channel();
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    lifecycle
        .supervise_thread("tail", move || {
            begun.send(()).map_err(|()| io::Error::other("the test is gone"))?;
            released.recv().map_err(io::Error::other)
        })
        .expect("a thread can be started");
    has_begun.await.expect("the thread runs");
    let finishing = lifecycle.finish(GRACE);
    tokio::pin!(finishing);
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut finishing).await.is_err());
    release.send(()).expect("the thread waits for this");
    assert!(finishing.await.is_clean());
}

#[tokio::test]
async fn a_thread_that_panics_drains_the_process() {
    let lifecycle = Lifecycle::new();
    lifecycle
        .supervise_thread::<io::Error>("tail", || panic!("lost its way"))
        .expect("a thread can be started");
    lifecycle.draining().await;
    assert_eq!(lifecycle.finish(GRACE).await.to_string(), "task `tail` panicked: lost its way");
}

#[tokio::test]
async fn blocking_work_is_finished_even_when_nobody_waits_for_it() {
    let lifecycle = Lifecycle::new();
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    let (release, released) = std::sync::mpsc::sync_channel::<()>(1);
    let work = lifecycle.blocking(move || {
        let _waited = released.recv();
        done.send(()).is_ok()
    });
    // Started, then dropped: the closure is already on its thread.
    assert!(tokio::time::timeout(Duration::from_millis(5), work).await.is_err());
    drop(release);
    assert!(lifecycle.finish(GRACE).await.is_clean());
    assert!(is_done.try_recv().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_companion_ends_after_everything_else() {
    let lifecycle = Lifecycle::new();
    let ended = Arc::new(AtomicBool::new(false));
    let has_ended = Arc::clone(&ended);
    lifecycle.accompany(|told| async move {
        told.cancelled().await;
        ended.store(true, Ordering::SeqCst);
    });
    let (waiter, companion) = (lifecycle.clone(), Arc::clone(&has_ended));
    lifecycle.supervise("listener", async move {
        waiter.draining().await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        if companion.load(Ordering::SeqCst) {
            Err(io::Error::other("the companion left first"))
        } else {
            Ok(())
        }
    });
    let ending = lifecycle.finish(GRACE).await;
    assert!(ending.is_clean(), "{ending}");
    assert!(has_ended.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_signal_drains_and_a_second_one_ends_the_wait() {
    let lifecycle = Lifecycle::new();
    lifecycle.spawn("session", std::future::pending());
    let mut waiting = std::pin::pin!(lifecycle.until_signal());
    // Polled once, it has installed its handlers: only then may the signal be sent.
    assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
    terminate_this_process();
    waiting.await;
    assert!(lifecycle.is_draining());
    let mut finishing = std::pin::pin!(lifecycle.finish(GRACE));
    assert!(tokio::time::timeout(Duration::from_millis(5), &mut finishing).await.is_err());
    terminate_this_process();
    let ending = finishing.await;
    assert!(matches!(ending, Ending::Deadline { .. }), "{ending}");
}

fn terminate_this_process() {
    let this = std::process::id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &this]).status().expect("there is a `kill`");
    assert!(sent.success());
}

#[tokio::test]
async fn work_without_a_task_is_counted_while_it_lasts() {
    // The line about draining counted tasks only, so it never showed publishes in flight.
    let lifecycle = Lifecycle::new();
    let messages = Arc::new(AtomicUsize::new(3));
    let in_flight = Arc::clone(&messages);
    lifecycle.count_work("message", move || in_flight.load(Ordering::Relaxed));
    assert_eq!(Tasks(&lifecycle.running()).to_string(), "3 × message");
    messages.store(0, Ordering::Relaxed);
    assert_eq!(lifecycle.running(), []);
}
