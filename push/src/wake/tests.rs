//! The doorbell, one thread at a time. `tests/wake_model` has the threads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::FutureExt as _;

use super::doorbell::{CursorId, Doorbell, Ringer, Serve};

fn take_news(doorbell: &Doorbell, ringers: &[&Arc<Ringer>]) -> Vec<usize> {
    let mut news = Vec::new();
    doorbell.take_news(&mut news, |id| ringers.get(id.0).copied());
    news.iter().map(|cursor| cursor.0).collect()
}

/// Leaves something to its task or not, and counts how often it was served.
struct Session {
    does_all: bool,
    served: AtomicUsize,
}

impl Serve for Session {
    fn serve(&self) -> bool {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.does_all
    }
}

#[test]
fn a_ringer_that_nobody_listens_to_is_silent_but_for_alerts() {
    let doorbell = Arc::new(Doorbell::default());
    let ringer = Ringer::new(Arc::clone(&doorbell), CursorId(0));
    assert!(ringer.ring().is_some());
    assert_eq!(take_news(&doorbell, &[]), [0]);
    assert!(ringer.ring().is_none());
    assert_eq!(take_news(&doorbell, &[]), [] as [usize; 0]);
    ringer.alert();
    assert_eq!(take_news(&doorbell, &[]), [0]);
    ringer.listen();
    assert!(ringer.ring().is_none(), "the fan-out has not served yet");
    assert_eq!(take_news(&doorbell, &[]), [0]);
}

#[test]
fn several_rings_count_as_one_until_the_session_is_served() {
    let doorbell = Arc::new(Doorbell::default());
    let ringers = [0, 1].map(|id| Ringer::new(Arc::clone(&doorbell), CursorId(id)));

    assert!(ringers[1].ring().is_some_and(|rung| Arc::ptr_eq(rung, &doorbell)));
    assert!(ringers[0].ring().is_none() && ringers[1].ring().is_none());
    assert_eq!(doorbell.rung().now_or_never(), None, "the task sleeps on");
    doorbell.serve(7);
    assert_eq!(doorbell.served_us(), 7);
    assert_eq!(doorbell.rung().now_or_never(), Some(()), "there is no session to serve");
    assert_eq!(doorbell.rung().now_or_never(), None, "a ring is taken once");
    assert_eq!(take_news(&doorbell, &ringers.each_ref()), [1, 0]);
    assert!(ringers[1].ring().is_some());
}

#[test]
fn a_panic_while_it_is_served_ends_the_session_and_not_the_thread() {
    // It ended the thread, and with it the process and everybody's session.
    struct Broken;
    impl Serve for Broken {
        fn serve(&self) -> bool {
            panic!("this session meets a bug");
        }
    }
    let (doorbell, session) = (Doorbell::default(), Arc::new(Broken));
    let weak = Arc::downgrade(&session);
    doorbell.set_session(weak);
    doorbell.serve(0);
    assert_eq!(doorbell.rung().now_or_never(), Some(()), "the task finds the lock poisoned");
}

#[test]
fn the_task_is_woken_for_what_the_fan_out_cannot_do() {
    for does_all in [true, false] {
        let doorbell = Doorbell::default();
        assert!(!doorbell.is_served());
        let session = Arc::new(Session { does_all, served: AtomicUsize::new(0) });
        let weak = Arc::downgrade(&session);
        doorbell.set_session(weak);
        assert!(doorbell.is_served());
        doorbell.serve(0);
        assert_eq!(session.served.load(Ordering::Relaxed), 1);
        assert_eq!(doorbell.rung().now_or_never().is_none(), does_all);
    }
}
