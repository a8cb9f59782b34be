//! Over real sockets on loopback, with a client that reads to the end of the connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Admin, CONNECTIONS_MAX, Config, EXCHANGE_MAX};
use crate::lifecycle::Lifecycle;
use crate::metrics::Metrics;
use crate::readiness::Readiness;

struct Process {
    lifecycle: Lifecycle,
    readiness: Readiness,
    address: std::net::SocketAddr,
}

async fn start() -> Process {
    let (lifecycle, readiness) = (Lifecycle::new(), Readiness::new());
    let listen = "127.0.0.1:0".parse().expect("an address");
    let admin = Admin::bind(&Config { listen }).await.expect("a free port");
    let address = admin.local_addr();
    admin.serve(&lifecycle, readiness.clone(), Arc::new(Metrics::new().registry));
    Process { lifecycle, readiness, address }
}

impl Process {
    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("it listens");
        stream.write_all(format!("{head}\r\nHost: admin\r\n\r\n").as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it answers");
        answer
    }

    async fn check(&self, head: &str, status: &str, contains: &str) {
        let answer = self.ask(head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
        assert!(answer.contains(contains), "{head} lacks {contains:?}: {answer}");
    }
}

#[tokio::test]
async fn probes_and_scrapers_get_their_answers() {
    let process = start().await;
    process.check("GET / HTTP/1.1", "200", "/metrics").await;
    process.check("GET /livez HTTP/1.1", "200", "live").await;
    process.check("GET /readyz HTTP/1.1", "200", "\nready\n").await;
    process.check("GET /metrics HTTP/1.1", "200", "tailcast_build_info{version=").await;
    process.check("GET /metrics HTTP/1.1", "200", "text/plain; version=0.0.4").await;
    let openmetrics = "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0";
    process.check(openmetrics, "200", "# EOF\n").await;
    process.check("GET /secret HTTP/1.1", "404", "/livez").await;
    process.check("POST /readyz HTTP/1.1", "405", "allow: GET, HEAD").await;
}

#[tokio::test]
async fn a_process_that_is_not_ready_says_what_it_waits_for() {
    let process = start().await;
    let kafka = process.readiness.condition("kafka", "waiting for metadata");
    process.check("GET /readyz HTTP/1.1", "503", "kafka: waiting for metadata").await;
    process
        .check(
            "GET /readyz HTTP/1.1\r\nAccept: application/json",
            "503",
            r#""conditions":{"kafka":{"reason":"waiting for metadata","status":"not_ready"}}"#,
        )
        .await;
    kafka.ready();
    process.check("GET /readyz HTTP/1.1", "200", "kafka: ready").await;
}

#[tokio::test]
async fn a_draining_process_answers_until_its_last_task_has_ended() {
    let process = start().await;
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    process.lifecycle.spawn("session", async move {
        let _released = released.await;
    });
    process.lifecycle.drain();
    let lifecycle = process.lifecycle.clone();
    let finishing = async { lifecycle.finish(Duration::from_secs(25)).await };
    let asking = async {
        process.check("GET /readyz HTTP/1.1", "503", "process: draining").await;
        process.check("GET /livez HTTP/1.1", "200", "live").await;
        release.send(()).expect("the session waits");
    };
    let (ending, ()) = tokio::join!(finishing, asking);
    assert!(ending.is_clean(), "{ending}");
    assert!(TcpStream::connect(process.address).await.is_err(), "the listener outlived the process");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_its_key() {
    let process = start().await;
    let error = Admin::bind(&Config { listen: process.address }).await.expect_err("the port is taken");
    assert!(error.to_string().starts_with("admin.listen: cannot listen on 127.0.0.1:"), "{error}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_their_turn() {
    let process = start().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = TcpStream::connect(process.address).await.expect("it listens");
        // One that had sent nothing would make room.
        stream.write_all(b"GET /livez").await.expect("it reads");
        idle.push(stream);
    }
    let mut asking = std::pin::pin!(process.ask("GET /livez HTTP/1.1"));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), &mut asking).await.is_err(),
        "served over the limit"
    );
    idle.pop();
    let answer = tokio::time::timeout(Duration::from_secs(20), asking).await.expect("its turn comes");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn clients_that_send_nothing_do_not_fail_a_probe() {
    let process = start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(process.address).await.expect("it listens"));
    }
    // It waited until one of them was cut off, 10 s later.
    let probe = tokio::time::timeout(Duration::from_secs(2), process.ask("GET /livez HTTP/1.1"));
    let answer = probe.await.expect("a probe gets through");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

// The clock jumps to the next deadline whenever all tasks wait.
#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let process = start().await;
    let begin = tokio::time::Instant::now();
    let mut stream = TcpStream::connect(process.address).await.expect("it listens");
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(10 * EXCHANGE_MAX, stream.read_to_end(&mut answer)).await;
    closed.expect("it is closed").expect("in order");
    assert!(begin.elapsed() <= EXCHANGE_MAX, "{:?}", begin.elapsed());
}
