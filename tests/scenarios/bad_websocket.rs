//! Invalid frames and upgrades: each gets the answer that RFC 6455 or the protocol requires.

use std::net::SocketAddr;

use prost::Message as _;
use tailcast_proto::push::v1::client_message::Command;
use tailcast_proto::push::v1::{ClientMessage, Connect, Subscribe};
use tailcast_tests::broker::Broker;
use tailcast_tests::cluster::Cluster;
use tailcast_tests::raw_socket::Opcode::{Binary, Close, Continuation, Ping, Reserved, Text};
use tailcast_tests::raw_socket::{RawFrame, RawSocket, part, upgrade_request, whole};
use tailcast_tests::socket::Wire;

tailcast_tests::scenarios! {
    everywhere {
        a_frame_against_the_rfc_closes_with_its_code
        a_message_against_the_protocol_closes_with_its_code
        a_client_that_never_connects_is_closed
        a_client_that_answers_no_ping_is_closed
        an_upgrade_that_is_none_is_refused_in_http
        an_unknown_subprotocol_is_closed_as_unsupported
    }
}

/// Sends frames after an upgrade, and checks the node's close code, and that it has a reason.
async fn check(node: SocketAddr, what: &str, wire: Wire, frames: &[RawFrame], code: u16) {
    let mut socket = RawSocket::open(node, wire).await;
    for frame in frames {
        socket.send(&frame.encode()).await;
    }
    let closed = socket.closed().await;
    assert_eq!(closed.code, Some(code), "{what}: {closed:?}");
    assert!(!closed.reason.is_empty(), "{what}: the close frame has a reason");
}

async fn a_frame_against_the_rfc_closes_with_its_code(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.message_bytes_max", "4096").start().await;
    let node = cluster.push[0].address();
    check(node, "unmasked", Wire::Proto, &[RawFrame { masked: false, ..whole(Binary, []) }], 1002).await;
    check(node, "a reserved bit", Wire::Proto, &[RawFrame { reserved: true, ..whole(Binary, []) }], 1002)
        .await;
    check(node, "a reserved opcode", Wire::Proto, &[whole(Reserved, [])], 1002).await;
    check(node, "a ping in fragments", Wire::Proto, &[part(Ping, [])], 1002).await;
    check(node, "a ping over 125 bytes", Wire::Proto, &[whole(Ping, [0; 126])], 1002).await;
    check(node, "a continuation of nothing", Wire::Proto, &[whole(Continuation, [])], 1002).await;
    check(node, "a message inside a message", Wire::Proto, &[part(Binary, [1]), whole(Binary, [])], 1002)
        .await;
    check(node, "a close of one byte", Wire::Proto, &[whole(Close, [3])], 1002).await;
    check(node, "a close with a reserved code", Wire::Proto, &[whole(Close, 1005_u16.to_be_bytes())], 1002)
        .await;
    check(node, "a close that is not UTF-8", Wire::Proto, &[whole(Close, [3, 232, 0xff])], 1007).await;
    check(node, "text that is not UTF-8", Wire::Json, &[whole(Text, [0xc3, 0x28])], 1007).await;
    check(
        node,
        "fragments that are not UTF-8",
        Wire::Json,
        &[part(Text, [b'{']), whole(Continuation, [0xc3])],
        1007,
    )
    .await;
    check(node, "a frame over the limit", Wire::Proto, &[whole(Binary, [0; 4097])], 1009).await;
    let halves = [part(Binary, [0; 4000]), whole(Continuation, [0; 4000])];
    check(node, "fragments over the limit", Wire::Proto, &halves, 1009).await;
    let endless: Vec<_> =
        [part(Binary, [])].into_iter().chain((0..2_000).map(|_| part(Continuation, []))).collect();
    check(node, "endless empty fragments", Wire::Proto, &endless, 1008).await;
}

async fn a_message_against_the_protocol_closes_with_its_code(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let node = cluster.push[0].address();
    let connect = || whole(Binary, encode(Command::Connect(Connect::default())));
    let subscribe = || whole(Binary, encode(Command::Subscribe(Subscribe::default())));

    check(node, "text on the binary subprotocol", Wire::Proto, &[whole(Text, *b"{}")], 1003).await;
    check(node, "binary on the text subprotocol", Wire::Json, &[whole(Binary, [])], 1003).await;
    check(node, "malformed protobuf", Wire::Proto, &[whole(Binary, [0xff; 8])], 1007).await;
    check(node, "malformed JSON", Wire::Json, &[whole(Text, *b"{\"connect\":")], 1007).await;
    check(node, "an unknown field", Wire::Json, &[whole(Text, *b"{\"conect\":{}}")], 1007).await;
    check(node, "a subscribe before Connect", Wire::Proto, &[subscribe()], 4409).await;
    check(node, "a second Connect", Wire::Proto, &[connect(), connect()], 4409).await;
}

async fn a_client_that_never_connects_is_closed(broker: Broker) {
    let cluster = Cluster::on(&broker).set("push.sessions.connect_deadline", "300ms").start().await;

    let mut silent = RawSocket::open(cluster.push[0].address(), Wire::Proto).await;

    assert_eq!(silent.closed().await.code, Some(4408));
}

async fn a_client_that_answers_no_ping_is_closed(broker: Broker) {
    let plan = Cluster::on(&broker).set("push.sessions.ping_interval", "200ms");
    let cluster = plan.set("push.sessions.pong_deadline", "300ms").start().await;

    let mut deaf = RawSocket::open(cluster.push[0].address(), Wire::Proto).await;
    deaf.send(&whole(Binary, encode(Command::Connect(Connect::default()))).encode()).await;

    assert_eq!(deaf.closed().await.code, Some(4510));
}

async fn an_upgrade_that_is_none_is_refused_in_http(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    let good = upgrade_request("tailcast.v1.proto");
    for (what, request, status) in [
        ("no upgrade", "GET /v1/connect HTTP/1.1\r\nHost: node\r\n\r\n".to_owned(), 426),
        ("another version", good.replace("Version: 13", "Version: 8"), 426),
        ("no key", good.replace("Sec-WebSocket-Key", "X"), 426),
        ("an invalid key", good.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), 426),
        ("another method", good.replace("GET", "PUT"), 426),
        ("another path", good.replace("/v1/connect", "/elsewhere"), 404),
        (
            "a page of another origin",
            good.replace("Host: node", "Host: node\r\nOrigin: https://elsewhere.example"),
            403,
        ),
    ] {
        let (answer, _) = RawSocket::ask(cluster.push[0].address(), &request).await;
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        if status == 426 {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{what}: {answer:?}");
        }
    }
}

async fn an_unknown_subprotocol_is_closed_as_unsupported(broker: Broker) {
    let cluster = Cluster::on(&broker).start().await;
    for request in
        [upgrade_request("mqtt"), upgrade_request("mqtt").replace("Sec-WebSocket-Protocol: mqtt\r\n", "")]
    {
        let (answer, stream) = RawSocket::ask(cluster.push[0].address(), &request).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(
            answer.header("sec-websocket-protocol"),
            None,
            "an unsupported subprotocol is not echoed: {answer:?}"
        );
        let closed = RawSocket::after_upgrade(stream).closed().await;
        assert_eq!(closed.code, Some(4406), "{closed:?}");
        assert!(
            closed.reason.contains("tailcast.v1.proto"),
            "the reason names the valid subprotocols: {closed:?}"
        );
    }
}

fn encode(command: Command) -> Vec<u8> {
    ClientMessage { id: 1, command: Some(command) }.encode_to_vec()
}
