//! How many instructions the way of a record takes, counted by valgrind: the same on a busy machine as on a quiet one.
//!
//! `loadgen/bench/instructions` runs this and holds the counts against those that are committed. What is prepared before a count
//! (`setup`) and looked at after it (`teardown`) is not in it, and neither are the kernel's instructions.

#![expect(missing_docs, reason = "what gungraun's macros write has none")]
#![expect(clippy::needless_pass_by_value, reason = "gungraun hands over what a benchmark returned")]

use bytes::BytesMut;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use tailcast_proto::{
    Offset,
    delivery::{Delivery, Format, encode_header},
};
use tailcast_push::benchmarks::{Crowd, Gatherer, Message, Records, Watched, Watching};

/// As the node's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How many keys and channels a busy partition has.
const KEYS: usize = 1_000;
/// How many records the feed has at hand at once.
const RECORDS: usize = 100;
/// How long their values are, in bytes.
const VALUE_BYTES: usize = 512;
/// How many sessions are served: each looks at what may wake it in an order drawn anew.
const SESSIONS: usize = 100;
/// How often everything is done before it is counted, so that what is made once is made, in the allocator too.
const ROUNDS: usize = 10;

/// What a delivery is made of, and room for it.
struct Ingredients {
    format: Format,
    value: Vec<u8>,
    headers: BytesMut,
    out: BytesMut,
}

/// A partition and what comes next in it.
type Arrival = (Watched, Records);

/// A session's subscriptions, the partition they are to, and what was gathered last.
type Gathering = (Watched, Gatherer, Option<Message>);

fn ingredients(format: Format, bytes: usize, headers: usize) -> Ingredients {
    let (value, mut encoded) = (vec![b'x'; bytes], BytesMut::new());
    for number in 0..headers {
        encode_header(&format!("header-{number}"), Some(b"what it says"), &mut encoded);
    }
    Ingredients { format, value, headers: encoded, out: BytesMut::with_capacity(4 * bytes) }
}

fn is_encoded(ingredients: Ingredients) {
    assert!(ingredients.out.len() > ingredients.value.len(), "the value is in it");
}

#[library_benchmark(setup = ingredients, teardown = is_encoded)]
#[bench::proto_200(Format::Proto, 200, 0)]
#[bench::proto_512(Format::Proto, 512, 0)]
#[bench::proto_512_headers(Format::Proto, 512, 3)]
#[bench::json_200(Format::Json, 200, 0)]
#[bench::json_512(Format::Json, 512, 0)]
#[bench::json_512_headers(Format::Json, 512, 3)]
fn encode(mut ingredients: Ingredients) -> Ingredients {
    let delivery = Delivery {
        alias: 700,
        partition: None,
        offset: Offset::new(1_000_000).expect("it is an offset"),
        timestamp_ms: 1_790_000_000_000,
        key: None,
        value: Some(&ingredients.value),
        headers: &ingredients.headers,
    };
    delivery.encode(ingredients.format, &mut ingredients.out);
    ingredients
}

fn keys_and_value() -> (Vec<String>, Vec<u8>) {
    let keys: Vec<_> = (0..RECORDS).map(|number| format!("key-{number}")).collect();
    let value = vec![b'x'; VALUE_BYTES];
    for _ in 0..ROUNDS {
        drop(Records::of(Offset::ZERO, &keys, &value));
    }
    (keys, value)
}

#[library_benchmark]
#[bench::records_100(keys_and_value())]
fn collect((keys, value): (Vec<String>, Vec<u8>)) -> (Records, Vec<String>, Vec<u8>) {
    (Records::of(Offset::ZERO, &keys, &value), keys, value)
}

/// The records of a round.
fn round(number: usize, records: usize, keys: usize) -> Records {
    let first = i64::try_from(number * records).ok().and_then(Offset::new).expect("it is an offset");
    Records::collect(first, records, keys, VALUE_BYTES)
}

fn arrival(watching: Watching, keys: usize) -> Arrival {
    let watched = Watched::new(watching);
    (0..ROUNDS).for_each(|number| watched.append(round(number, RECORDS, keys)));
    (watched, round(ROUNDS, RECORDS, keys))
}

fn are_appended(watched: Watched) {
    assert_eq!(watched.deliveries(), (ROUNDS + 1) * RECORDS, "each record is in a log");
}

#[library_benchmark(setup = arrival, teardown = are_appended)]
#[bench::keys_1000(Watching::Keys(KEYS), KEYS)]
#[bench::one_hot_key(Watching::Keys(KEYS), 1)]
#[bench::whole_topic(Watching::Topic, KEYS)]
fn append((watched, records): Arrival) -> Watched {
    watched.append(records);
    watched
}

/// One record, and a thousand sessions that wait for it.
fn waiting() -> Arrival {
    let watched = Watched::new(Watching::Keys(1)).with_subscribers(1_000);
    (watched, round(0, 1, 1))
}

fn are_rung(watched: Watched) {
    assert_eq!(watched.rung(), 1_000, "everybody was rung for");
}

#[library_benchmark]
#[bench::subscribers_1000(args = (), setup = waiting, teardown = are_rung)]
fn ring((watched, record): Arrival) -> Watched {
    watched.append(record);
    watched
}

/// A session that has gathered before, and what has come since: `records` of as many of the `keys` as there are.
fn gathering(watching: Watching, records: usize, keys: usize) -> Gathering {
    let watched = Watched::new(watching);
    let mut gatherer = Gatherer::new(&watched, watching);
    for number in 0..ROUNDS {
        watched.append(round(number, records, keys));
        assert_eq!(gatherer.gather().deliveries(), records as u64, "the session keeps up");
    }
    watched.append(round(ROUNDS, records, keys));
    (watched, gatherer, None)
}

fn is_gathered((_, _, message): Gathering) {
    assert!(message.is_some_and(|message| message.deliveries() > 0), "there was something to gather");
}

#[library_benchmark(setup = gathering, teardown = is_gathered)]
#[bench::one_delivery(Watching::Keys(1), 1, 1)]
#[bench::deliveries_100_of_one_log(Watching::Keys(1), 100, 1)]
#[bench::deliveries_100_of_100_logs(Watching::Keys(100), 100, 100)]
fn gather((watched, mut gatherer, _): Gathering) -> Gathering {
    let message = gatherer.gather();
    (watched, gatherer, Some(message))
}

/// Sessions that have served before, and are woken.
fn crowd(watching: Watching, records: usize, keys: usize) -> (Watched, Crowd, usize) {
    let watched = Watched::new(watching);
    let mut crowd = Crowd::new(&watched, watching, SESSIONS);
    for number in 0..ROUNDS {
        watched.append(round(number, records, keys));
        assert!(crowd.serve() > SESSIONS * VALUE_BYTES, "the sessions keep up");
    }
    watched.append(round(ROUNDS, records, keys));
    (watched, crowd, 0)
}

fn are_served((_, _, written): (Watched, Crowd, usize)) {
    assert!(written > SESSIONS * VALUE_BYTES, "every session wrote");
}

#[library_benchmark(setup = crowd, teardown = are_served)]
#[bench::sessions_100_one_delivery_each(Watching::Keys(1), 1, 1)]
#[bench::sessions_100_ten_deliveries_each(Watching::Keys(1), 10, 1)]
fn serve((watched, mut crowd, _): (Watched, Crowd, usize)) -> (Watched, Crowd, usize) {
    let written = crowd.serve();
    (watched, crowd, written)
}

library_benchmark_group!(name = hot_path, benchmarks = [encode, collect, append, ring, gather, serve]);

main!(
    config = LibraryBenchmarkConfig::default()
        // A count of `rep movsb` is one of bytes: glibc copies as it does on a processor that is slow at it.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        // What is given back to the system depends on the time.
        .env("MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot_path
);
