//! Two connections that serve one client, in any interleaving.

use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any, prop_oneof, proptest},
};
use tailcast_proto::push::v1::ErrorCode;

use super::model::{PARTITIONS, Step, World};
use super::*;
use crate::{Subscription, resume::tests};

fn step() -> impl Strategy<Value = Step> {
    let partition = || 0..PARTITIONS;
    prop_oneof![
        6 => (partition(), any::<[bool; 2]>()).prop_map(|(partition, of)| Step::Append { partition, of }),
        4 => any::<bool>().prop_map(|next| Step::Answer { next }),
        8 => (any::<bool>(), 0..2_usize, partition())
            .prop_map(|(next, channel, partition)| Step::Deliver { next, channel, partition }),
        2 => (any::<bool>(), partition()).prop_map(|(next, partition)| Step::Progress { next, partition }),
        3 => proptest::prelude::Just(Step::Prepare),
        3 => proptest::prelude::Just(Step::TakeOver),
        1 => proptest::prelude::Just(Step::Abandon),
        1 => proptest::prelude::Just(Step::Break),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    /// Either connection may be behind the other, and either may end at any time.
    #[test]
    fn two_connections_deliver_every_record_once_and_in_order(steps in vec(step(), 0..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}

/// Returns a client with these subscriptions on the current connection, and its commands for the
/// next one.
fn prepared(names: &[&str]) -> (Resume, String) {
    let mut resume = tests::subscribed_to(names);
    let commands = tests::commands_text(&resume.prepare(v1::Connect::default(), usize::MAX));
    (resume, commands)
}

fn next(resume: &mut Resume, frame: Frame) -> Result<Option<Event>, TakeoverError> {
    resume.observe_next(frame, Instant::now())
}

#[test]
fn the_next_connection_resumes_the_served_subscriptions() {
    let mut resume = tests::subscribed_to(&["quotes/A", "quotes/B"]);
    resume.add(Subscription::to(tests::channel("quotes/C")).conflated()).expect("the first");
    let asked = resume.due(Instant::now());
    tests::observe(&mut resume, tests::subscribed(asked[0].id, 0, 3, "0:5"));
    resume.add(Subscription::to(tests::channel("quotes/D"))).expect("the first");
    resume.due(Instant::now());
    tests::observe(&mut resume, tests::delivery(2, 7));

    let messages = resume.prepare(v1::Connect::default(), usize::MAX);
    assert_eq!(tests::commands_text(&messages), "connect(quotes/A at 0:5, quotes/B at 0:8)");
    assert!(!resume.is_ready());
    next(&mut resume, tests::subscribed(1, 0, 1, "0:5")).expect("it continues from the position");
    next(&mut resume, tests::subscribed(1, 1, 2, "0:8")).expect("it continues from the position");
    assert!(resume.is_ready());
    tests::observe(&mut resume, tests::delivery(3, 9));
    resume.take_over();
    // Conflation continues from its position, and the unanswered subscription is requested again.
    let messages = resume.due(Instant::now());
    assert_eq!(
        tests::commands_text(&messages),
        "subscribe(quotes/C at 0:10 conflated to 0) subscribe(quotes/D)"
    );
}

#[test]
fn a_record_of_both_connections_is_delivered_once() {
    let (mut resume, _) = prepared(&["quotes/A"]);
    assert!(tests::observe(&mut resume, tests::delivery(1, 5)).is_some());
    next(&mut resume, tests::subscribed(1, 0, 9, "0:5")).expect("it continues from the position");
    assert_eq!(next(&mut resume, tests::delivery(9, 5)), Ok(None));
    assert!(matches!(next(&mut resume, tests::delivery(9, 6)), Ok(Some(Event::Delivery(_)))));
    assert_eq!(tests::observe(&mut resume, tests::delivery(1, 6)), None);
    assert!(matches!(
        next(&mut resume, tests::delivery(9, 6)),
        Err(TakeoverError::Fault(Fault::Order { .. }))
    ));
}

#[test]
fn repetitions_are_dropped_after_the_next_connection_took_over_too() {
    let (mut resume, _) = prepared(&["quotes/A"]);
    tests::observe(&mut resume, tests::delivery(1, 8));
    // The current connection broke before the next one had answered.
    assert_eq!(resume.take_over(), []);
    tests::observe(&mut resume, tests::subscribed(1, 0, 4, "0:5"));
    assert_eq!(tests::observe(&mut resume, tests::delivery(4, 8)), None);
    assert!(matches!(tests::observe(&mut resume, tests::delivery(4, 9)), Some(Event::Delivery(_))));
}

#[test]
fn records_of_another_connection_are_not_lost() {
    let (mut resume, _) = prepared(&["quotes/A"]);
    tests::observe(&mut resume, tests::delivery(1, 8));
    resume.take_over();
    let mut lost = tests::subscribed(1, 0, 4, "0:12");
    let Some(frame::Frame::Subscribed(subscribed)) = &mut lost.frame else { panic!("it is one") };
    subscribed.set_outcome(Outcome::Lost);
    subscribed.lost = vec![v1::LostRange { partition: 0, first_offset: 5, next_offset: 12 }];
    let Some(Event::Subscribed(subscribed)) = tests::observe(&mut resume, lost) else { panic!("it starts") };
    assert_eq!(subscribed.lost, [v1::LostRange { partition: 0, first_offset: 9, next_offset: 12 }]);
    assert_eq!(subscribed.position.to_string(), "0:12");
}

#[test]
fn a_subscription_that_the_next_node_refuses_is_requested_again_after_it_took_over() {
    let (mut resume, _) = prepared(&["quotes/A"]);
    assert_eq!(next(&mut resume, tests::refused(1, 0, ErrorCode::Unsupported, 0)), Ok(None));
    assert!(resume.is_ready());
    assert_eq!(resume.take_over(), []);
    let messages = resume.due(Instant::now());
    assert_eq!(tests::commands_text(&messages), "subscribe(quotes/A at 0:5)");
    // This refusal is final.
    let refused = tests::refused(messages[0].id, 0, ErrorCode::Unsupported, 0);
    assert!(matches!(tests::observe(&mut resume, refused), Some(Event::Error(_))));
}

#[test]
fn a_node_that_would_leave_a_gap_does_not_take_over() {
    let start = |position: &str, outcome: Outcome| {
        let (mut resume, _) = prepared(&["quotes/A"]);
        let mut start = tests::subscribed(1, 0, 4, position);
        let Some(frame::Frame::Subscribed(subscribed)) = &mut start.frame else { panic!("it is one") };
        subscribed.set_outcome(outcome);
        next(&mut resume, start)
    };
    assert_eq!(start("0:5", Outcome::Resumed), Ok(None));
    assert_eq!(start("0:5,1:0", Outcome::CatchingUp), Ok(None), "a new partition is not a gap");
    assert!(matches!(start("0:6", Outcome::Resumed), Err(TakeoverError::Gap(_))));
    assert!(matches!(start("1:0", Outcome::Resumed), Err(TakeoverError::Gap(_))));
    assert!(matches!(start("0:6", Outcome::Lost), Err(TakeoverError::Gap(_))));
    assert!(matches!(start("ASNFZ4mrze_-3LqYdlQyEA/2@0:5", Outcome::Resumed), Err(TakeoverError::Gap(_))));

    let (mut resume, _) = prepared(&["quotes/A"]);
    next(&mut resume, tests::subscribed(1, 0, 4, "0:5")).expect("it continues from the position");
    assert!(matches!(next(&mut resume, tests::conflated(4, 5, 9, 1)), Err(TakeoverError::Gap(_))));
    let ended = v1::Unsubscribed { alias: 4, ..Default::default() };
    assert_eq!(
        next(&mut resume, tests::frame(0, frame::Frame::Unsubscribed(ended))),
        Err(TakeoverError::End)
    );
}

#[test]
fn a_subscription_ends_on_both_connections() {
    let (mut resume, _) = prepared(&["quotes/A", "quotes/B"]);
    next(&mut resume, tests::subscribed(1, 0, 4, "0:5")).expect("it continues from the position");
    next(&mut resume, tests::subscribed(1, 1, 5, "0:5")).expect("it continues from the position");
    resume.unsubscribe(&tests::channel("quotes/A"));
    assert_eq!(tests::commands_text(&resume.due(Instant::now())), "unsubscribe");
    resume.take_over();
    // The command was not sent to the next node yet.
    assert_eq!(tests::commands_text(&resume.due(Instant::now())), "unsubscribe");

    let (mut resume, _) = prepared(&["quotes/A"]);
    let ended = v1::Unsubscribed { alias: 1, ..Default::default() };
    tests::observe(&mut resume, tests::frame(0, frame::Frame::Unsubscribed(ended)));
    assert!(!resume.is_prepared(), "it was prepared with a subscription that has ended");
}
