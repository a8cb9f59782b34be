//! P4, as data: every kind of position from which a client may resume, and the expected start and
//! deliveries.
//!
//! A row of the matrix has the node, the requested start, and the expectation: the outcome, the
//! lost ranges, and the delivered values; or the error and its field. Each row reads until the last
//! record, which is published after all rows have subscribed, so that an unexpected delivery is
//! found.

use tailcast_proto::push::v1::{self, ErrorCode, PartitionOffset, Start, Subscribe, start::At};
use tailcast_proto::{Epoch, Offset, PartitionId, Position};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::socket::Wire;
use tailcast_tests::start::{earliest, live, position};
use tailcast_tests::subscriber::{Subscriber, request};
use tailcast_tests::topic::Topic;

tailcast_tests::scenarios! {
    everywhere {
        every_position_has_its_outcome_and_its_records
        a_position_taken_while_catching_up_is_as_good_as_any
    }
    apache_kafka {
        // The in-process broker cannot delete records or topics, or add partitions.
        every_position_of_a_topic_that_has_changed_has_its_outcome_and_its_records
    }
}

async fn every_position_has_its_outcome_and_its_records(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let chat = broker.create_topic("chat", 1).await;
    let other = broker.create_topic("other", 1).await;
    let (lobby, other_lobby) = (chat.channel(KEY), other.channel(KEY));
    // Node 0 has all records in memory; node 1 must read them from Kafka.
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&lobby, live()).await;
    watcher.subscribe(&other_lobby, live()).await;
    chat.append((0..10).map(|value| (KEY, value))).await;
    watcher.expect(0..10).await;
    let (left_at, of_other) = (watcher.position(&lobby), watcher.position(&other_lobby));
    let at = |offset| position(&Position { offsets: [(first(), number(offset))].into(), ..left_at.clone() });
    let person = |offset| raw("", &[(0, offset)], 0);
    let epoch = left_at.epoch.expect("a node sends the epoch").to_string();
    let other_epoch = Position { epoch: Some(Epoch::from_bits(1, 2)), ..left_at.clone() };

    let mut matrix = Matrix::new(&cluster, &lobby);
    matrix.check("none", 0, None, "LIVE").await;
    matrix.check("live", 0, live(), "LIVE").await;
    matrix.check("earliest", 0, earliest(), "RESUMED 0..=9").await;
    matrix.check("exact", 0, at(4), "RESUMED 4..=9").await;
    matrix.check("exact, without an epoch", 0, person(4), "RESUMED 4..=9").await;
    matrix.check("one before", 0, at(3), "RESUMED 3..=9").await;
    matrix.check("the first", 0, at(0), "RESUMED 0..=9").await;
    matrix.check("end", 0, at(10), "RESUMED").await;
    matrix.check("end + 1", 0, at(11), "POSITION_BEYOND_END start.position.offsets").await;
    // All topics of the in-process broker have the same epoch.
    if !broker.is_in_process() {
        matrix.check("other topic", 0, position(&of_other), "OTHER_EPOCH start.position.epoch").await;
    }
    matrix.check("other epoch", 0, position(&other_epoch), "OTHER_EPOCH start.position.epoch").await;
    matrix.check("other node, none", 1, None, "LIVE").await;
    matrix.check("other node, earliest", 1, earliest(), "CATCHING_UP 0..=9").await;
    matrix.check("other node", 1, at(4), "CATCHING_UP 4..=9").await;
    matrix.check("other node, end", 1, at(10), "RESUMED").await;
    matrix.check("other node, end + 1", 1, at(11), "POSITION_BEYOND_END start.position.offsets").await;
    matrix.check("two sessions, the first", 0, at(7), "RESUMED 7..=9").await;
    matrix.check("two sessions, the second", 0, at(7), "RESUMED 7..=9").await;
    for (name, tampered, expected) in [
        ("no offsets", raw(&epoch, &[], 1), "INVALID_ARGUMENT start.position.offsets"),
        ("below 0", raw(&epoch, &[(0, -1)], 1), "INVALID_ARGUMENT start.position.offsets[0].offset"),
        ("far beyond", raw(&epoch, &[(0, i64::MAX)], 1), "POSITION_BEYOND_END start.position.offsets"),
        (
            "another partition",
            raw(&epoch, &[(1, 4)], 1),
            "UNKNOWN_PARTITION start.position.offsets[0].partition",
        ),
        (
            "a partition twice",
            raw(&epoch, &[(0, 4), (0, 5)], 1),
            "INVALID_ARGUMENT start.position.offsets[1].partition",
        ),
        ("an epoch cut short", raw(&epoch[1..], &[(0, 4)], 1), "INVALID_ARGUMENT start.position.epoch"),
    ] {
        matrix.check(&format!("tampered, {name}"), 0, tampered, expected).await;
    }
    matrix.end(&chat).await;
    every_part_of_a_position(&broker, &cluster).await;
}

/// The rows for channels of several partitions.
async fn every_part_of_a_position(broker: &Broker, cluster: &Cluster) {
    let quotes = broker.create_topic("quotes", 3).await;
    let mut watcher = cluster.subscriber(0).await;
    watcher.subscribe(&quotes.all(), live()).await;
    for (partition, values) in (0..).zip([["a0", "a1", "a2"], ["b0", "b1", "b2"], ["c0", "c1", "c2"]]) {
        quotes.append_to(PartitionId::new(partition), values.map(|value| (KEY, value))).await;
    }
    for _ in 0..9 {
        watcher.receive().await;
    }
    let epoch = watcher.position(&quotes.all()).epoch.expect("a node sends the epoch").to_string();
    let all =
        |offsets: [i64; 3], count| raw(&epoch, &[(0, offsets[0]), (1, offsets[1]), (2, offsets[2])], count);

    let mut matrix = Matrix::new(cluster, &quotes.all());
    matrix.check("every partition", 0, all([1, 2, 3], 3), "RESUMED a1 a2 b2").await;
    matrix.check("every partition, other node", 1, all([1, 2, 3], 3), "CATCHING_UP a1 a2 b2").await;
    matrix
        .check("one beyond its end", 0, all([1, 4, 3], 3), "POSITION_BEYOND_END start.position.offsets")
        .await;
    let subset = raw(&epoch, &[(1, 1)], 3);
    matrix.check("subset of partitions", 0, subset, "INVALID_ARGUMENT start.position.offsets").await;
    // The others start live.
    let person = raw("", &[(1, 1)], 0);
    matrix.check("subset, without an epoch", 0, person, "RESUMED b1 b2").await;
    matrix.end(&quotes).await;
}

async fn every_position_of_a_topic_that_has_changed_has_its_outcome_and_its_records(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;

    let expired = broker.create_topic("expired", 1).await;
    expired.append((0..10).map(|value| (KEY, value))).await;
    expired.delete_records_before(first(), 5).await;
    let mut matrix = Matrix::new(&cluster, &expired.channel(KEY));
    matrix.check("expired", 0, raw("", &[(0, 2)], 1), "LOST 0:2..5 5..=9").await;
    matrix.check("expired, by one", 0, raw("", &[(0, 4)], 1), "LOST 0:4..5 5..=9").await;
    matrix.check("the first that is left", 0, raw("", &[(0, 5)], 1), "CATCHING_UP 5..=9").await;
    matrix.check("expired, earliest", 0, earliest(), "CATCHING_UP 5..=9").await;
    matrix.end(&expired).await;

    let mut grown = broker.create_topic("grown", 1).await;
    let left_at = position_at_the_end_of(&cluster, &grown).await;
    grown.append_to(first(), ["a0", "a1"].map(|value| (KEY, value))).await;
    grown.grow(3).await;
    grown.append_to(PartitionId::new(1), ["b0", "b1"].map(|value| (KEY, value))).await;
    grown.append_to(PartitionId::new(2), ["c0"].map(|value| (KEY, value))).await;
    let mut matrix = Matrix::new(&cluster, &grown.all());
    let (before, after) = (position(&left_at), raw("", &[(0, 1), (1, 1), (2, 1)], 3));
    matrix.check("before partition growth", 1, before, "CATCHING_UP a0 a1 b0 b1 c0").await;
    matrix.check("after partition growth", 1, after, "CATCHING_UP a1 b1").await;
    matrix.end(&grown).await;

    let recreated = broker.create_topic("recreated", 1).await;
    let left_at = position_at_the_end_of(&cluster, &recreated).await;
    recreated.delete().await;
    broker.create(&recreated).await;
    recreated.append((0..3).map(|value| (KEY, value))).await;
    let mut matrix = Matrix::new(&cluster, &recreated.channel(KEY));
    matrix.check("recreated", 1, position(&left_at), "OTHER_EPOCH start.position.epoch").await;
    matrix.check("recreated, earliest", 1, earliest(), "CATCHING_UP 0..=2").await;
    matrix.end(&recreated).await;
}

async fn a_position_taken_while_catching_up_is_as_good_as_any(broker: Broker) {
    let cluster = Cluster::on(&broker).push(2).start().await;
    let chat = broker.create_topic("chat", 1).await;
    let lobby = chat.channel(KEY);
    chat.append((0..10_000).map(|value| (KEY, value))).await;
    let mut subscriber = Subscriber::connect_narrow(cluster.push[0].address(), Wire::Proto).await;
    subscriber.subscribe(&lobby, earliest()).await;
    subscriber.expect(0..100).await;
    let left_at = subscriber.position(&lobby);
    subscriber.leave().await;

    let mut matrix = Matrix::new(&cluster, &lobby);
    matrix.check("while catching up", 0, position(&left_at), "CATCHING_UP 100..=9999").await;
    matrix.check("while catching up, other node", 1, position(&left_at), "CATCHING_UP 100..=9999").await;
    matrix.end(&chat).await;
}

/// Returns the position of a subscription to a whole topic after all records.
async fn position_at_the_end_of(cluster: &Cluster, topic: &Topic) -> Position {
    let mut subscriber = cluster.subscriber(0).await;
    subscriber.subscribe(&topic.all(), live()).await;
    let left_at = subscriber.position(&topic.all());
    subscriber.leave().await;
    left_at
}

const KEY: &str = "lobby";

/// The first partition, which is the only one of most topics.
fn first() -> PartitionId {
    PartitionId::new(0)
}

/// The subscribed rows, each with its pending deliveries.
struct Matrix<'a> {
    cluster: &'a Cluster,
    channel: String,
    lines: Vec<Line>,
    wrong: Vec<String>,
}

struct Line {
    name: String,
    expected: String,
    subscriber: Subscriber,
    /// How it started, in the notation of `expected`.
    began: String,
}

impl<'a> Matrix<'a> {
    fn new(cluster: &'a Cluster, channel: &str) -> Self {
        Self { cluster, channel: channel.to_owned(), lines: Vec::new(), wrong: Vec::new() }
    }

    async fn check(&mut self, name: &str, node: usize, start: impl Into<Option<Start>>, expected: &str) {
        let mut subscriber = self.cluster.subscriber(node).await;
        let asked = Subscribe { start: start.into(), ..request(&self.channel, live()) };
        match subscriber.try_subscribe(asked).await {
            Ok(subscribed) => {
                let lost = |lost: &v1::LostRange| {
                    format!(" {}:{}..{}", lost.partition, lost.first_offset, lost.next_offset)
                };
                let lost: String = subscribed.lost.iter().map(lost).collect();
                let outcome = subscribed.outcome().as_str_name().trim_start_matches("OUTCOME_");
                let (name, expected) = (name.to_owned(), expected.to_owned());
                self.lines.push(Line { name, expected, subscriber, began: format!("{outcome}{lost}") });
            }
            Err(error) => {
                let code = ErrorCode::as_str_name(&error.code()).trim_start_matches("ERROR_CODE_");
                self.compare(name, expected, &format!("{code} {}", error.field));
            }
        }
    }

    /// Publishes the last record of each partition, and compares the deliveries up to it.
    async fn end(mut self, topic: &Topic) {
        for partition in 0..topic.partitions() {
            topic.append_to(PartitionId::new(partition), [(KEY, "end")]).await;
        }
        for Line { name, expected, mut subscriber, began } in std::mem::take(&mut self.lines) {
            let mut open = subscriber.position(&self.channel).offsets.len();
            let mut values = Vec::new();
            while open > 0 {
                match subscriber.receive().await.text() {
                    "end" => open -= 1,
                    value => values.push(value.to_owned()),
                }
            }
            self.compare(&name, &expected, format!("{began} {}", shown(&values)).trim_end());
        }
        assert!(self.wrong.is_empty(), "of {}:\n{}", self.channel, self.wrong.join("\n"));
    }

    fn compare(&mut self, name: &str, expected: &str, found: &str) {
        if found != expected {
            self.wrong.push(format!("{name}: expected {expected}, found {found}"));
        }
    }
}

/// Returns values as text, consecutive numbers as ranges. Sorted, as there is no order between
/// partitions.
fn shown(values: &[String]) -> String {
    let numbers: Vec<u32> = values.iter().filter_map(|value| value.parse().ok()).collect();
    match numbers[..] {
        [first, .., last] if numbers.len() == values.len() && numbers.iter().copied().eq(first..=last) => {
            format!("{first}..={last}")
        }
        _ => {
            let mut values = values.to_owned();
            values.sort();
            values.join(" ")
        }
    }
}

/// Returns a position in the form of the wire.
fn raw(epoch: &str, offsets: &[(u32, i64)], partition_count: u32) -> Start {
    let offsets = offsets.iter().map(|&(partition, offset)| PartitionOffset { partition, offset }).collect();
    Start { at: Some(At::Position(v1::Position { epoch: epoch.to_owned(), offsets, partition_count })) }
}

fn number(offset: i64) -> Offset {
    Offset::new(offset).expect("an offset is 0 or more")
}
