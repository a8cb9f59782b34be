//! Instructions per record along its path, counted by valgrind, so that a busy machine gives the
//! same result as a quiet one.
//!
//! `loadgen/bench/instructions` runs this and compares the counts with the committed ones. Work in
//! `setup` and `teardown` is not counted, and neither are instructions in the kernel.

#![expect(missing_docs, reason = "gungraun's macros generate undocumented items")]
#![expect(clippy::needless_pass_by_value, reason = "gungraun passes values")]

use bytes::BytesMut;
use gungraun::{Callgrind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use tailcast_proto::{
    Offset,
    delivery::{Delivery, Format, encode_header},
};
use tailcast_push::benchmarks::{Crowd, Gatherer, Message, Records, Watched, Watching};

/// The same allocator as the node's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Number of keys and channels of a busy partition.
const KEYS: usize = 1_000;
/// Number of records in a batch.
const RECORDS: usize = 100;
/// Size of a value, in bytes.
const VALUE_BYTES: usize = 512;
/// Number of sessions. Each uses a random order to poll its wake-up sources.
const SESSIONS: usize = 100;
/// Number of rounds before the counted one, so that one-time allocations are done.
const ROUNDS: usize = 10;

/// The input of an encoder, and its output buffer.
struct Ingredients {
    format: Format,
    value: Vec<u8>,
    headers: BytesMut,
    out: BytesMut,
}

/// A partition and its next records.
type Arrival = (Watched, Records);

/// A session's subscriptions, their partition, and the last message.
type Gathering = (Watched, Gatherer, Option<Message>);

fn ingredients(format: Format, bytes: usize, headers: usize) -> Ingredients {
    let (value, mut encoded) = (vec![b'x'; bytes], BytesMut::new());
    for number in 0..headers {
        encode_header(&format!("header-{number}"), Some(b"a header value"), &mut encoded);
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

/// Returns the records of a round.
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

/// One record, and a thousand sessions waiting for it.
fn waiting() -> Arrival {
    let watched = Watched::new(Watching::Keys(1)).with_subscribers(1_000);
    (watched, round(0, 1, 1))
}

fn are_rung(watched: Watched) {
    assert_eq!(watched.rung(), 1_000, "every doorbell rang");
}

#[library_benchmark]
#[bench::subscribers_1000(args = (), setup = waiting, teardown = are_rung)]
fn ring((watched, record): Arrival) -> Watched {
    watched.append(record);
    watched
}

/// A session that has gathered before, with `records` new records of `keys` keys.
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

/// Sessions that were served before and are woken again.
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
        // Valgrind counts `rep movsb` once for each byte. glibc copies as on a processor where that
        // instruction is slow.
        .env("GLIBC_TUNABLES", "glibc.cpu.x86_rep_movsb_threshold=1073741824")
        // Returning memory to the system depends on the time.
        .env("MALLOC_CONF", "dirty_decay_ms:-1,muzzy_decay_ms:-1")
        .tool(Callgrind::with_args(["--cache-sim=no"])),
    library_benchmark_groups = hot_path
);
