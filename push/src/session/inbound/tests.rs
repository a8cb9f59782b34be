//! RFC 6455 as data: bytes from a client, and the expected result.

use futures_util::FutureExt as _;
use proptest::{arbitrary::any, collection::vec, prelude::proptest};

use super::*;

const BYTES_MAX: usize = 200;

/// A masked frame. `first` is its first byte: 0x80 for final, and the opcode.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | u8::try_from(length).expect("it is small")),
        length => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(length).expect("tests use short frames").to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// What a check expects: something that was read, or the close code of a violation.
struct Expected(Result<Inbound, u16>);

impl From<Result<Inbound, u16>> for Expected {
    fn from(expected: Result<Inbound, u16>) -> Self {
        Self(expected)
    }
}

/// Reads until something other than a pong comes out.
#[track_caller]
fn check(name: &str, frames: &[Vec<u8>], expected: impl Into<Expected>) {
    let Expected(expected) = expected.into();
    let bytes = frames.concat();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    let found = runtime.block_on(InboundReader::new(bytes.as_slice(), BYTES_MAX).next());
    assert_eq!(found.map_err(|violation| violation.code), expected, "{name}");
}

/// Reads what comes in pieces of these sizes, over and over, and gives up waiting for more after
/// each.
fn read_in_pieces(mut bytes: &[u8], cuts: &[usize], bytes_max: usize) -> Vec<Inbound> {
    let (mut client, server) = tokio::io::duplex(1024);
    let mut reader = InboundReader::new(server, bytes_max);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    let mut found = Vec::new();
    for cut in cuts.iter().cycle() {
        let (piece, rest) = bytes.split_at((*cut).min(bytes.len()));
        let written = runtime.block_on(tokio::io::AsyncWriteExt::write_all(&mut client, piece));
        written.expect("the pipe has room");
        while let Some(read) = runtime.block_on(async { reader.next().now_or_never() }) {
            found.push(read.expect("nothing is against the rules"));
        }
        bytes = rest;
        if bytes.is_empty() {
            break;
        }
    }
    found
}

fn text(text: &'static str) -> Result<Inbound, u16> {
    Ok(Inbound::Text(Bytes::from_static(text.as_bytes())))
}

#[test]
fn whole_and_fragmented_messages_are_read() {
    check("text", &[frame(0x81, b"hi")], text("hi"));
    check("binary", &[frame(0x82, b"\xff")], Ok(Inbound::Binary(Bytes::from_static(b"\xff"))));
    check("fragments", &[frame(0x01, b"h"), frame(0x00, b""), frame(0x80, b"i")], text("hi"));
    check("UTF-8 across fragments", &[frame(0x01, b"\xc3"), frame(0x80, b"\xa9")], text("é"));
    check(
        "the largest",
        &[frame(0x82, &[7; BYTES_MAX])],
        Ok(Inbound::Binary(Bytes::from_static(&[7; BYTES_MAX]))),
    );
    check("nothing", &[], Ok(Inbound::End));
    check("half a frame", &[frame(0x81, b"hello")[..4].to_vec()], Ok(Inbound::End));
}

#[test]
fn what_comes_in_pieces_is_whole_and_waiting_for_it_can_be_given_up() {
    // fastwebsockets' reader forgets what it has read of a frame when a wait for the rest of it is
    // dropped.
    let frames =
        [frame(0x01, b"h"), frame(0x80, b"i"), frame(0x82, &[7; BYTES_MAX]), frame(0x8a, b"")].concat();
    let largest = Inbound::Binary(Bytes::from_static(&[7; BYTES_MAX]));
    let hi = Inbound::Text(Bytes::from_static(b"hi"));
    assert_eq!(read_in_pieces(&frames, &[1], BYTES_MAX), [hi, largest, Inbound::Pong]);
}

#[test]
fn a_client_that_says_nothing_costs_no_memory() {
    // Each connection kept the parser's 8 KiB.
    let (mut client, server) = tokio::io::duplex(1024);
    let mut reader = InboundReader::new(server, BYTES_MAX);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be built");
    let frames = [frame(0x81, b"hello"), frame(0x8a, b"")].concat();
    let written = runtime.block_on(tokio::io::AsyncWriteExt::write_all(&mut client, &frames));
    written.expect("the pipe has room");
    let found = [(); 3].map(|()| runtime.block_on(async { reader.next().now_or_never() }).is_some());
    assert_eq!(found, [true, true, false], "two were sent");
    assert_eq!(reader.ahead.capacity(), 0);
}

#[test]
fn control_frames_come_between_fragments() {
    check("ping", &[frame(0x01, b"h"), frame(0x89, b"p")], Ok(Inbound::Ping(Bytes::from_static(b"p"))));
    check("pong", &[frame(0x01, b"h"), frame(0x8a, b"p")], Ok(Inbound::Pong));
    check("a long ping", &[frame(0x89, &[1; 126])], Err(1002));
    check("a long pong", &[frame(0x8a, &[1; 126])], Err(1002));
    check("a fragmented ping", &[frame(0x09, b"p")], Err(1002));
}

#[test]
fn a_client_that_breaks_the_protocol_is_told_with_1002() {
    check("not masked", &[vec![0x81, 2, b'h', b'i']], Err(1002));
    check("a reserved bit", &[frame(0xc1, b"hi")], Err(1002));
    check("a reserved opcode", &[frame(0x83, b"hi")], Err(1002));
    check("a continuation of nothing", &[frame(0x80, b"hi")], Err(1002));
    check("a message in a message", &[frame(0x01, b"h"), frame(0x81, b"i")], Err(1002));
    check("a fragment start in a message", &[frame(0x01, b"h"), frame(0x01, b"i")], Err(1002));
}

#[test]
fn what_a_head_shows_is_told_before_the_payload_comes() {
    // The parser was given whole frames, so a client that broke the rules and sent no more was
    // waited for.
    check("a reserved bit", &[vec![0xc1]], Err(1002));
    check("a reserved opcode", &[vec![0x83]], Err(1002));
    check("a fragmented ping", &[vec![0x09]], Err(1002));
    check("not masked", &[vec![0x81, 100]], Err(1002));
    check("a long ping", &[vec![0x89, 0xfe]], Err(1002));
    check("a continuation of nothing", &[frame(0x80, b"hi")[..6].to_vec()], Err(1002));
    check("a message in a message", &[frame(0x01, b"h"), frame(0x81, b"i")[..6].to_vec()], Err(1002));
    check("one frame", &[frame(0x82, &[0; BYTES_MAX + 1])[..8].to_vec()], Err(1009));
    check("all fragments", &[frame(0x02, &[0; 150]), frame(0x80, &[0; 51])[..6].to_vec()], Err(1009));
}

#[test]
fn lengths_have_their_shortest_form() {
    // RFC 6455, section 5.2: "the minimal number of bytes MUST be used".
    let frame = |length: &[u8], payload: usize| {
        [[0x82].as_slice(), length, [0; 4].as_slice(), &vec![7; payload]].concat()
    };
    check("125 in two bytes", &[frame(&[0xfe, 0, 125], 125)], Err(1002));
    check("126", &[frame(&[0xfe, 0, 126], 126)], Ok(Inbound::Binary(Bytes::from_static(&[7; 126]))));
    check("65,535 in eight bytes", &[frame(&[0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 0)], Err(1002));
    check("65,536", &[frame(&[0xff, 0, 0, 0, 0, 0, 1, 0, 0], 0)], Err(1009));
    check("more than there can be", &[frame(&[0xff; 9], 0)], Err(1009));
}

proptest! {
    #[test]
    fn however_messages_are_cut_and_interrupted_they_come_whole(
        messages in vec((any::<bool>(), vec("[ -~é€😀]{0,20}", 1..5)), 1..5),
        interruptions in vec(any::<bool>(), 20),
        cuts in vec(1..50_usize, 1..20),
    ) {
        let (mut sent, mut expected) = (Vec::new(), Vec::new());
        let mut interruptions = interruptions.into_iter().cycle();
        for (is_text, parts) in messages {
            for (at, part) in parts.iter().enumerate() {
                let opcode = match (at, is_text) { (0, true) => 1, (0, false) => 2, _ => 0 };
                let last = if at + 1 == parts.len() { 0x80 } else { 0 };
                sent.extend(frame(last | opcode, part.as_bytes()));
                if interruptions.next() == Some(true) {
                    sent.extend(frame(0x89, b"ping"));
                    expected.push(Inbound::Ping(Bytes::from_static(b"ping")));
                }
            }
            let message = Bytes::from(parts.concat());
            let message = if is_text { Inbound::Text(message) } else { Inbound::Binary(message) };
            // A ping behind the last fragment comes behind the message.
            let behind = sent.ends_with(&frame(0x89, b"ping"));
            expected.insert(expected.len() - usize::from(behind), message);
        }
        proptest::prop_assert_eq!(read_in_pieces(&sent, &cuts, 400), expected);
    }
}

#[test]
fn text_that_is_not_utf8_is_told_with_1007() {
    check("whole", &[frame(0x81, b"\xff")], Err(1007));
    check("over fragments", &[frame(0x01, b"a"), frame(0x80, b"\xc3")], Err(1007));
}

#[test]
fn what_is_too_large_is_told_with_1009_and_too_many_fragments_with_1008() {
    check("one frame", &[frame(0x82, &[0; BYTES_MAX + 1])], Err(1009));
    check("all fragments", &[frame(0x02, &[0; 150]), frame(0x80, &[0; 51])], Err(1009));
    check("a claim of 63 MiB", &[vec![0x82, 0xff, 0, 0, 0, 0, 3, 0xf0, 0, 0, 1, 2, 3, 4]], Err(1009));
    let mut many = vec![frame(0x02, b"")];
    many.extend((0..FRAGMENTS_MAX).map(|_| frame(0x00, b"")));
    check("empty fragments", &many, Err(1008));
}

#[test]
fn close_frames_are_checked() {
    let close = |payload: &[u8]| vec![frame(0x88, payload)];
    check("empty", &close(b""), Ok(Inbound::Close(None)));
    for code in [1000_u16, 1001, 1003, 1007, 1014, 3000, 4001, 4999] {
        check("allowed", &close(&code.to_be_bytes()), Ok(Inbound::Close(Some(code))));
    }
    for code in [0_u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000] {
        check("not allowed", &close(&code.to_be_bytes()), Err(1002));
    }
    check("half a code", &close(b"\x03"), Err(1002));
    check("a reason", &close(b"\x03\xe8bye"), Ok(Inbound::Close(Some(1000))));
    check("a reason that is not UTF-8", &close(b"\x03\xe8\xff"), Err(1007));
}
