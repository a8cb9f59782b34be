//! What may happen to a session of the model.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use super::client::CHANNELS;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Subscribe(usize),
    Unsubscribe(usize),
    /// A requested start completes, this number of records before the end.
    Found(Index, Index),
    /// One of the starts is refused.
    Refused(Index),
    Append(&'static str, Vec<&'static str>),
    Evict(&'static str),
    /// A requested page arrives, with this number of records.
    Page(Index, usize),
    /// Pages that were read and not used are forgotten.
    ForgetPages,
    /// A thread of the fan-out comes, if the doorbell rang.
    Inline,
    /// The task runs, if it was woken.
    Task,
    Block,
    Unblock,
    Wait(u64),
    Drain,
}

/// Draws up to 80 steps, with a drain among them at times.
pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let channel = 0..CHANNELS.len();
    let topic = || select(vec!["t", "u"]);
    let step = prop_oneof![
        4 => channel.clone().prop_map(Step::Subscribe),
        1 => channel.prop_map(Step::Unsubscribe),
        4 => (any::<Index>(), any::<Index>()).prop_map(|(which, back)| Step::Found(which, back)),
        1 => any::<Index>().prop_map(Step::Refused),
        6 => (topic(), vec(select(vec!["a", "b"]), 1..5)).prop_map(|(topic, keys)| Step::Append(topic, keys)),
        2 => topic().prop_map(Step::Evict),
        4 => (any::<Index>(), 1..5_usize).prop_map(|(which, length)| Step::Page(which, length)),
        1 => Just(Step::ForgetPages),
        6 => Just(Step::Inline),
        3 => Just(Step::Task),
        1 => Just(Step::Block),
        2 => Just(Step::Unblock),
        3 => (1..4_000_u64).prop_map(Step::Wait),
    ];
    let drain = proptest::option::weighted(0.2, any::<Index>());
    (vec(step, 1..80), drain).prop_map(|(mut steps, drain)| {
        if let Some(at) = drain {
            steps.insert(at.index(steps.len()), Step::Drain);
        }
        steps
    })
}
