//! Over real sockets on loopback.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A service that answers the first byte, and keeps its place until then.
fn serve(places_max: usize, at_bound: AtBound) -> (SocketAddr, AcceptMetrics, tokio::task::JoinSet<()>) {
    let socket = bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    let metrics = AcceptMetrics::default();
    let mut listener = Listener::new("test", socket, Limits { places_max, at_bound }, metrics.clone());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Accepted { mut stream, mut place, .. } = listener.accept().await;
            connections.spawn(async move {
                if place.first_byte(&stream, PATIENCE * 10).await.is_ok() {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&byte).await.expect("the client reads");
                    }
                }
            });
        }
    });
    (address, metrics, tasks)
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("it listens")
}

async fn is_echoed(stream: &mut TcpStream) -> bool {
    stream.write_all(b"x").await.expect("it is connected");
    let mut byte = [0];
    let echoed = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.expect("an answer or the end");
    matches!(echoed, Ok(1))
}

#[tokio::test]
async fn an_honest_client_gets_through_a_crowd_of_silent_ones() {
    // 512 silent connections kept everybody out of push for 10 s.
    const SILENT: usize = 64;
    let (address, metrics, _tasks) = serve(SILENT, AtBound::Evict);
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(connect(address).await);
    }
    let mut honest = connect(address).await;
    assert!(is_echoed(&mut honest).await);
    assert_eq!(metrics.evicted.get(), 1);

    let mut oldest = silent.remove(0);
    let end = tokio::time::timeout(PATIENCE, oldest.read(&mut [0])).await.expect("the oldest is closed");
    assert!(matches!(end, Ok(0)), "{end:?}");
    for stream in &mut silent {
        assert!(is_echoed(stream).await, "only the oldest makes room");
    }
}

#[tokio::test]
async fn at_a_bound_of_clients_that_have_sent_something_the_next_one_waits() {
    let (address, metrics, _tasks) = serve(2, AtBound::Evict);
    let (mut first, mut second) = (connect(address).await, connect(address).await);
    assert!(is_echoed(&mut first).await && is_echoed(&mut second).await);
    let mut third = connect(address).await;
    third.write_all(b"x").await.expect("the kernel takes it");
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(50), third.read(&mut byte)).await;
    assert!(early.is_err(), "served over the limit: {early:?}");
    drop(first);
    assert!(is_echoed(&mut third).await);
    assert!(is_echoed(&mut second).await);
    assert_eq!(metrics.evicted.get(), 0);
}

#[tokio::test]
async fn a_listener_that_refuses_closes_the_next_one_at_once() {
    let (address, metrics, _tasks) = serve(1, AtBound::Refuse);
    let mut first = connect(address).await;
    assert!(is_echoed(&mut first).await);
    let mut second = connect(address).await;
    let end = tokio::time::timeout(PATIENCE, second.read(&mut [0])).await.expect("it is closed");
    assert!(matches!(end, Ok(0)), "{end:?}");
    assert_eq!(metrics.refused.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_is_late() {
    let socket = bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
    let address = socket.local_addr().expect("it is bound");
    let limits = Limits { places_max: 1, at_bound: AtBound::Evict };
    let mut listener = Listener::new("test", socket, limits, AcceptMetrics::default());
    let (_client, mut accepted) = tokio::join!(connect(address), listener.accept());
    let silent = accepted.place.first_byte(&accepted.stream, Duration::from_secs(5)).await;
    assert_eq!(silent, Err(Silent::Late));
}

#[test]
fn only_errors_of_the_process_pause_the_listener() {
    let is_of_connection = |errno| is_of_connection(&io::Error::from_raw_os_error(errno));
    let (emfile, enfile, econnaborted, econnreset) = (24, 23, 103, 104);
    assert!(is_of_connection(econnaborted) && is_of_connection(econnreset));
    assert!(!is_of_connection(emfile) && !is_of_connection(enfile));
}

#[tokio::test(start_paused = true)]
async fn failures_are_logged_once_a_period() {
    let mut failures = Failures::default();
    for _ in 0..100 {
        failures.log("test", &io::Error::from_raw_os_error(24));
    }
    assert_eq!(failures.unlogged, 99);
    tokio::time::advance(LOG_PERIOD).await;
    failures.log("test", &io::Error::from_raw_os_error(24));
    assert_eq!(failures.unlogged, 0);
}
