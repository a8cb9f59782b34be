//! The rules as data: what happens to a session, and what it does about it.

mod model;
mod world;

pub(in crate::session) use self::world::page_request;

use std::time::Duration;

use bytes::Bytes;
use tailcast_proto::push::v1::{ErrorCode, client_message::Command};

use self::world::{World, command, frames, inbound, subscribe, unsubscribe};
use super::*;

/// A session with the starts and pages that it has requested.
struct Script {
    world: World,
    starts: Vec<Request>,
    pages: Vec<PageRequest>,
}

/// Does each step and compares what the session does about it. `{id} name` is a reply.
#[track_caller]
fn check(steps: &[(&str, &str)]) {
    let mut script = Script { world: World::new(), starts: Vec::new(), pages: Vec::new() };
    for (number, (step, expected)) in steps.iter().enumerate() {
        assert_eq!(script.step(step), *expected, "step {number}: {step}");
    }
}

impl Script {
    fn step(&mut self, step: &str) -> String {
        let words: Vec<_> = step.split(' ').collect();
        let event = match words[..] {
            ["connect"] => command(1, Command::Connect(v1::Connect::default())),
            ["connect", name] => {
                let Command::Subscribe(subscribe) = subscribe(name) else { unreachable!("it is one") };
                let subscriptions = vec![subscribe];
                command(1, Command::Connect(v1::Connect { subscriptions, ..v1::Connect::default() }))
            }
            ["subscribe", name] => command(2, subscribe(name)),
            ["unsubscribe", name] => command(3, unsubscribe(name)),
            ["refresh"] => command(4, Command::Refresh(v1::Refresh::default())),
            ["unknown"] => inbound(Inbound::Binary(Bytes::from_static(b"\x08\x05"))),
            ["garbage"] => inbound(Inbound::Binary(Bytes::from_static(b"\x00"))),
            ["text"] => inbound(Inbound::Text(Bytes::from_static(b"{}"))),
            ["ping"] => inbound(Inbound::Ping(Bytes::from_static(b"?"))),
            ["pong"] => inbound(Inbound::Pong),
            ["end"] => inbound(Inbound::End),
            ["leave"] => inbound(Inbound::Close(Some(1000))),
            ["connect-when-full"] => Event::Inbound { message: Inbound::Pong, is_node_full: true },
            ["violation"] => Event::Violation(Violation { code: 1002, why: "masks" }),
            ["drain"] => Event::Drain,
            ["alarm"] => Event::Alarm { room: Some(room()) },
            ["alarm", "without-room"] => Event::Alarm { room: None },
            ["no-room"] => Event::NoRoom,
            ["lost"] => Event::Lost,
            ["wake-up"] => Event::WakeUp,
            ["found", from] => {
                let request = self.starts.remove(0);
                let started = self.world.started(&request, from.parse().expect("it is an offset"));
                Event::Started(Box::new((request, Ok(started))))
            }
            ["refused"] => {
                let error = CommandError::new(ErrorCode::UnknownTopic, "there is none");
                Event::Started(Box::new((self.starts.remove(0), Err(error))))
            }
            ["page", length] => {
                let request = self.pages.remove(0);
                Event::Page(self.world.answer(&request, length.parse().expect("it is a length")))
            }
            ["expired", low] => {
                let PageRequest { cursor, serial, .. } = self.pages.remove(0);
                let low = world::offset(low.parse().expect("it is an offset"));
                Event::Page(PageAnswer {
                    cursor,
                    serial,
                    page: Err(PageRefusal::Unreadable(PageError::Expired { low })),
                })
            }
            ["forbidden"] => {
                let PageRequest { cursor, serial, .. } = self.pages.remove(0);
                Event::Page(PageAnswer { cursor, serial, page: Err(PageRefusal::Forbidden) })
            }
            _ => return self.other_step(&words),
        };
        let (at, mut actions) = (self.world.at(), Vec::new());
        let handled = self.world.rules.handle(event, at, &mut actions);
        let mut done = self.show(actions);
        if let Err(reason) = handled {
            done.push(format!("close {}", reason.label()));
        }
        done.join(", ")
    }

    /// The steps that are no events.
    fn other_step(&mut self, words: &[&str]) -> String {
        let now = self.world.now;
        match *words {
            ["append", topic, ref keys @ ..] => {
                let key = |key: &&str| if *key == "a" { "a" } else { "b" };
                let keys: Vec<_> = keys.iter().map(key).collect();
                self.world.topic(topic).append(&keys);
            }
            ["evict", topic] => drop(self.world.topic(topic).partition.evict_oldest()),
            ["delete", topic] => {
                self.world.topic(topic).partition.close(v1::UnsubscribeReason::TopicDeleted);
            }
            ["wait", ms] => self.world.now += Duration::from_millis(ms.parse().expect("it is a time")),
            ["written"] => self.world.rules.socket(Socket::Written, now),
            ["progressed"] => self.world.rules.socket(Socket::Progressed, now),
            ["pending"] => self.world.rules.socket(Socket::Pending, now),
            ["next-alarm"] => {
                let at = self.world.rules.alarm_at(&self.world.clock);
                return format!("{} ms", (at - now).as_millis());
            }
            ["awaits-drain"] => return self.world.rules.awaits_drain().to_string(),
            ["message"] | ["message", "small"] => {
                let bytes = if words.len() == 1 { room().bytes } else { 1 };
                let message = self.world.rules.message(Room { bytes, ..room() }, self.world.at());
                return show_message(&message);
            }
            ["pages"] => {
                let before = self.pages.len();
                self.pages.extend(std::iter::from_fn(|| self.world.rules.next_page_request()));
                let requested = self.pages[before..].iter();
                return requested.map(|page| format!("page {}", page.offset)).collect::<Vec<_>>().join(", ");
            }
            ["inline"] | ["inline", "without-room"] => {
                let room = (words.len() == 1).then(room);
                let (at, mut actions) = (self.world.at(), Vec::new());
                let inline = self.world.rules.wake_up_inline(room, at, &mut actions);
                let mut done = self.show(actions);
                done.push(format!("{inline:?}"));
                return done.join(", ");
            }
            ["close", reason] => {
                let reason = match reason {
                    "draining" => CloseReason::Draining,
                    "lost" => CloseReason::Lost,
                    _ => CloseReason::Client(Some(1000)),
                };
                let mut actions = Vec::new();
                let ending = self.world.rules.close(&reason, &mut actions);
                let mut done = self.show(actions);
                done.push(match ending {
                    Ending::CloseFrame { code, .. } => format!("frame {code:?}"),
                    Ending::Silent => "silent".to_owned(),
                });
                return done.join(", ");
            }
            _ => panic!("there is no step {words:?}"),
        }
        String::new()
    }

    fn show(&mut self, actions: Vec<Action>) -> Vec<String> {
        let mut shown = Vec::new();
        for action in actions {
            shown.push(match action {
                Action::Reply { id, frame } => format!("{id} {}", show_frame(&frame)),
                Action::Pong(payload) => format!("pong {}", String::from_utf8_lossy(&payload)),
                Action::Ping => "ping".to_owned(),
                Action::Write(message) => format!("write ({})", show_message(&message)),
                Action::Start(request) => {
                    let shown = format!("start {}", request.channel);
                    self.starts.push(request);
                    shown
                }
            });
        }
        shown
    }
}

fn room() -> Room {
    Room { bytes: 10_000, is_behind: false }
}

fn show_frame(frame: &v1::frame::Frame) -> String {
    let position = |position: &Option<v1::Position>| {
        let offsets = position.iter().flat_map(|position| &position.offsets);
        offsets.map(|at| at.offset.to_string()).collect::<Vec<_>>().join("+")
    };
    match frame {
        v1::frame::Frame::Connected(_) => "connected".to_owned(),
        v1::frame::Frame::Refreshed(_) => "refreshed".to_owned(),
        v1::frame::Frame::Subscribed(frame) => {
            format!("subscribed {}@{}", frame.name, position(&frame.position))
        }
        v1::frame::Frame::Unsubscribed(frame) => {
            let reason = frame.reason().as_str_name().trim_start_matches("UNSUBSCRIBE_REASON_");
            format!("unsubscribed {}@{} {reason}", frame.name, position(&frame.position))
        }
        v1::frame::Frame::Error(error) => {
            error.code().as_str_name().trim_start_matches("ERROR_CODE_").to_owned()
        }
        v1::frame::Frame::Goaway(goaway) => {
            format!("goaway {} {}", goaway.retry_after_ms, goaway.deadline_ms)
        }
        v1::frame::Frame::Skipped(skipped) => {
            format!("skipped {}..{}", skipped.first_offset, skipped.next_offset)
        }
        v1::frame::Frame::Delivery(delivery) => delivery.offset.to_string(),
        other => format!("{other:?}"),
    }
}

fn show_message(message: &Message) -> String {
    let mut shown: Vec<_> = frames(&message.batch.parts).iter().map(show_frame).collect();
    shown.extend(message.heartbeat.as_ref().map(|heartbeat| {
        let progress = heartbeat.progress.iter();
        let progress = progress.map(|at| format!(" {}={}", at.topic, at.next_offset)).collect::<String>();
        format!("heartbeat{progress}")
    }));
    shown.extend(message.has_ping.then(|| "ping".to_owned()));
    shown.join(" ")
}

#[test]
fn the_first_command_is_connect_and_comes_once_and_in_time() {
    check(&[("connect", "1 connected"), ("connect", "close 4409")]);
    check(&[("subscribe t/a", "close 4409")]);
    check(&[("unknown", "close 4409")]);
    check(&[("wait 4999", ""), ("alarm", ""), ("wait 1", ""), ("alarm", "close 4408")]);
    check(&[("connect-when-full", "close 4529")]);
    check(&[("connect", "1 connected"), ("connect-when-full", "")]);
    check(&[("connect t/a", "1 connected, start t/a"), ("found 0", "1 subscribed t/a@0")]);
}

#[test]
fn the_client_can_end_the_session_or_break_it() {
    check(&[("connect", "1 connected"), ("leave", "close 1000")]);
    check(&[("connect", "1 connected"), ("end", "close 1006")]);
    check(&[("garbage", "close 1007")]);
    check(&[("text", "close 1003")]);
    check(&[("violation", "close 1002")]);
    check(&[("lost", "close 1006")]);
    check(&[("no-room", "close 4508")]);
    check(&[("ping", "pong ?"), ("pong", "")]);
}

#[test]
fn each_command_is_answered() {
    check(&[
        ("connect", "1 connected"),
        ("refresh", "4 refreshed"),
        ("unknown", "5 UNSUPPORTED"),
        ("unsubscribe t/a", "3 NOT_SUBSCRIBED"),
        ("subscribe t", "2 INVALID_ARGUMENT"),
        ("subscribe t/a", "start t/a"),
        ("subscribe t/a", "2 ALREADY_SUBSCRIBED"),
        ("subscribe u/b", "start u/b"),
        ("subscribe t/b", "2 TOO_MANY_SUBSCRIPTIONS"),
        ("refused", "2 UNKNOWN_TOPIC"),
        ("found 0", "2 subscribed u/b@0"),
        ("subscribe u/b", "2 ALREADY_SUBSCRIBED"),
        ("unsubscribe u/b", "3 unsubscribed u/b@0 REQUESTED"),
        ("unsubscribe u/b", "3 NOT_SUBSCRIBED"),
    ]);
}

#[test]
fn an_unsubscribe_that_overtakes_the_start_is_answered_after_it() {
    check(&[
        ("connect t/a", "1 connected, start t/a"),
        ("unsubscribe t/a", ""),
        ("unsubscribe t/a", "3 NOT_SUBSCRIBED"),
        ("found 0", "1 subscribed t/a@0, 3 unsubscribed t/a@0 REQUESTED"),
        ("subscribe t/a", "start t/a"),
        ("unsubscribe t/a", ""),
        ("refused", "3 NOT_SUBSCRIBED, 2 UNKNOWN_TOPIC"),
    ]);
}

#[test]
fn records_are_delivered_in_the_room_that_there_is() {
    check(&[
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("append t a b a", ""),
        ("message small", "0"),
        ("message", "1 2"),
        ("message", ""),
        ("append t a", ""),
        ("message", ""),
        ("wake-up", ""),
        ("message", "3"),
    ]);
}

#[test]
fn the_fan_out_delivers_unless_the_task_has_work() {
    let started =
        [("connect t/a", "1 connected, start t/a"), ("found 0", "1 subscribed t/a@0"), ("message", "")];
    let steps = |more: &[(&'static str, &'static str)]| check(&[&started[..], more].concat());
    steps(&[("append t a", ""), ("inline", "Deliver"), ("message", "0")]);
    steps(&[("inline without-room", "LeaveToTask")]);
    steps(&[("append t a a", ""), ("wake-up", ""), ("message small", "0"), ("inline", "LeaveToTask")]);
    steps(&[("close lost", "silent"), ("append t a", ""), ("inline", "Closed")]);
    steps(&[("delete t", ""), ("inline", "0 unsubscribed t/a@0 TOPIC_DELETED, Deliver"), ("message", "")]);
    // A heartbeat that is due is the task's, one that is due soon goes with the delivery, and with
    // it the ping.
    steps(&[("wait 7000", ""), ("alarm", ""), ("append t a", ""), ("inline", "LeaveToTask")]);
    steps(&[("wait 6200", ""), ("append t a", ""), ("inline", "Deliver"), ("message", "0 heartbeat t=1")]);
    steps(&[
        ("wait 7000", ""),
        ("alarm", ""),
        ("message", "heartbeat"),
        ("wait 6900", ""),
        ("append t a", ""),
        ("inline", "write (0 heartbeat t=1 ping), Deliver"),
    ]);
}

#[test]
fn heartbeats_and_pings_come_in_time() {
    check(&[
        ("connect", "1 connected"),
        ("next-alarm", "7000 ms"),
        ("wait 7000", ""),
        ("alarm", ""),
        ("message", "heartbeat"),
        ("next-alarm", "7000 ms"),
        ("wait 7000", ""),
        ("alarm", "write (heartbeat ping)"),
        ("written", ""),
        ("wait 7000", ""),
        ("alarm without-room", ""),
        ("message", "heartbeat"),
        ("wait 3000", ""),
        ("alarm", "close 4510"),
    ]);
    check(&[
        ("connect", "1 connected"),
        ("wait 14000", ""),
        ("alarm without-room", "ping"),
        ("message", "heartbeat"),
    ]);
}

#[test]
fn a_client_that_takes_nothing_is_closed_and_one_that_takes_a_little_is_not() {
    check(&[
        ("connect", "1 connected"),
        ("pending", ""),
        ("wait 15000", ""),
        ("alarm without-room", "close 4508"),
    ]);
    check(&[
        ("connect", "1 connected"),
        ("pending", ""),
        ("wait 14000", ""),
        ("progressed", ""),
        ("wait 14000", ""),
        ("pong", ""),
        ("alarm without-room", "ping"),
        ("wait 1000", ""),
        ("alarm without-room", "close 4508"),
    ]);
}

#[test]
fn a_drain_asks_once_and_closes_who_stays_with_its_positions() {
    check(&[("awaits-drain", "true"), ("drain", "close 4503")]);
    check(&[
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("append t a b", ""),
        ("drain", "0 goaway 5000 6000"),
        ("awaits-drain", "false"),
        ("drain", ""),
        ("message small", "0"),
        ("wait 6000", ""),
        ("alarm", "close 4503"),
        ("close draining", "0 unsubscribed t/*@1 CLOSING, frame Some(4503)"),
        ("awaits-drain", "false"),
    ]);
    check(&[
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("close client", "frame Some(1000)"),
    ]);
}

#[test]
fn pages_are_requested_for_what_the_window_has_lost() {
    check(&[
        ("append t a b a", ""),
        ("evict t", ""),
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("message", ""),
        ("pages", "page 0"),
        ("pages", ""),
        ("page 2", ""),
        ("message", "0 1"),
        ("pages", "page 2"),
        ("page 5", ""),
        ("message", "2"),
    ]);
    check(&[
        ("append t a b a", ""),
        ("evict t", ""),
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("message", ""),
        ("pages", "page 0"),
        ("expired 2", "0 skipped 0..2"),
        ("message", ""),
        ("pages", "page 2"),
        ("unsubscribe t/*", "3 unsubscribed t/*@2 REQUESTED"),
        ("page 5", ""),
        ("message", ""),
    ]);
}

#[test]
fn a_page_that_is_forbidden_ends_the_subscription() {
    check(&[
        ("append t a b a", ""),
        ("evict t", ""),
        ("connect t/*", "1 connected, start t/*"),
        ("found 0", "1 subscribed t/*@0"),
        ("message", ""),
        ("pages", "page 0"),
        ("forbidden", "0 unsubscribed t/*@0 FORBIDDEN"),
        ("subscribe t/*", "start t/*"),
    ]);
}
