//! Handles a node's frames: moves positions and verifies deliveries.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tailcast_client::Liveness;
use tailcast_proto::{
    Offset, PartitionId,
    push::v1::{
        self, Delivery, ErrorCode, Frame, Heartbeat, ServerMessage, SkipReason, UnsubscribeReason,
        delivery::ValueForm, frame,
    },
};

use super::{Channel, Reader, SessionEnd, Stage};
use crate::{interval::Count, payload::PayloadError, verify::Arrival};

/// A margin before the drop: events in flight when the connection was dropped arrive late as well.
const MARGIN_NS: u64 = 1_000_000_000;

/// The distribution that a latency belongs to.
#[derive(Debug, Clone, Copy)]
enum Class {
    Regular,
    Slow,
    Away,
}

impl Reader {
    /// Handles a message, frame by frame. Returns the channels to subscribe to again.
    pub(super) fn observe(
        &mut self,
        message: &ServerMessage,
        bytes: usize,
    ) -> Result<Vec<usize>, SessionEnd> {
        let shared = Arc::clone(&self.shared);
        // All frames of a message arrive at the same time.
        let now_ns = shared.now_ns();
        let (mut again, mut end, mut count) = (Vec::new(), Ok(()), Count::default());
        // Locked once for all deliveries of the message.
        let mut latencies = None;
        for frame in &message.frames {
            let Some(frame::Frame::Delivery(delivery)) = &frame.frame else {
                end = end.and_then(|()| self.control(frame, &mut count, &mut again));
                continue;
            };
            let Some((at_ns, arrival)) = self.judge(delivery, now_ns) else { continue };
            count.deliveries += 1;
            count.distinct += u64::from(arrival != Arrival::Repeated);
            if at_ns >= shared.measured_from_ns {
                let class = self.class(at_ns);
                let latencies = latencies.get_or_insert_with(|| shared.traffic.latencies(self.number));
                let of_class = match class {
                    Class::Regular => &mut latencies.regular,
                    Class::Slow => &mut latencies.slow,
                    Class::Away => &mut latencies.away,
                };
                of_class.record(now_ns.saturating_sub(at_ns) / 1000);
            }
        }
        drop(latencies);
        if count.deliveries > 0 {
            (count.messages, count.bytes) = (1, bytes as u64);
        }
        if count != Count::default() {
            self.accounted += count.accounted();
            shared.traffic.add(count);
            self.caught_up();
        }
        end.map(|()| again)
    }

    fn class(&self, at_ns: u64) -> Class {
        let dropped_ns = self.shared.storm.map_or(u64::MAX, |storm| storm.drop_ns.saturating_sub(MARGIN_NS));
        let is_away = match self.storm {
            Stage::Before => false,
            Stage::Away | Stage::Back(_) => true,
            // Events due before it had caught up waited behind those it had missed.
            Stage::Over(caught_up_ns) => (dropped_ns..caught_up_ns).contains(&at_ns),
        };
        match (self.slow, is_away) {
            (true, _) => Class::Slow,
            (false, true) => Class::Away,
            (false, false) => Class::Regular,
        }
    }

    fn control(
        &mut self,
        frame: &Frame,
        count: &mut Count,
        again: &mut Vec<usize>,
    ) -> Result<(), SessionEnd> {
        match &frame.frame {
            Some(frame::Frame::Subscribed(subscribed)) => self.subscribed(frame.id, subscribed),
            Some(frame::Frame::Skipped(skipped)) => count.skipped += self.skipped(skipped),
            Some(frame::Frame::Unsubscribed(unsubscribed)) => {
                again.extend(self.unsubscribed(unsubscribed)?);
            }
            Some(frame::Frame::Heartbeat(heartbeat)) => self.heartbeat(heartbeat),
            Some(frame::Frame::Goaway(goaway)) => {
                return Err(SessionEnd::Goaway(Duration::from_millis(goaway.retry_after_ms.into())));
            }
            Some(frame::Frame::Error(error)) => {
                let detail = format!("subscription {} was rejected: {}", error.index, error.detail);
                let after = Duration::from_millis(error.retry_after_ms.into());
                let is_temporary = error.code() == ErrorCode::Unavailable || !after.is_zero();
                return Err(if is_temporary {
                    SessionEnd::Unavailable { detail, after }
                } else {
                    SessionEnd::Refused(detail)
                });
            }
            Some(frame::Frame::Connected(connected)) if connected.heartbeat_interval_ms > 0 => {
                let interval = Duration::from_millis(connected.heartbeat_interval_ms.into());
                self.liveness = Liveness::new(interval, Instant::now());
            }
            Some(
                frame::Frame::Delivery(_)
                | frame::Frame::Connected(_)
                | frame::Frame::SnapshotEnd(_)
                | frame::Frame::Refreshed(_),
            )
            | None => {}
        }
        Ok(())
    }

    /// Verifies a delivery. Returns when it was due and how it arrived; `None` if it is not an
    /// event of this run.
    fn judge(&mut self, delivery: &Delivery, now_ns: u64) -> Option<(u64, Arrival)> {
        let Some(at) = self.channel(delivery.alias) else {
            self.findings.corrupt += 1;
            return None;
        };
        let channel = &mut self.channels[at];
        let in_place = channel.delivered(delivery.partition, delivery.offset);
        let value: &[u8] = match &delivery.value_form {
            Some(ValueForm::Value(value)) => value,
            Some(ValueForm::Text(text)) => text.as_bytes(),
            None => &[],
        };
        let event = match self.shared.format.read(value) {
            Ok(event) => event,
            Err(PayloadError::OtherRun) => {
                self.findings.other_runs += 1;
                return None;
            }
            Err(PayloadError::Corrupt) => {
                self.findings.corrupt += 1;
                return None;
            }
        };
        let Some(arrival) = channel.received.observe(event.key, event.sequence, now_ns) else {
            self.findings.corrupt += 1;
            return None;
        };
        match arrival {
            // The sequence of the key is right, but the partition's offsets are not.
            Arrival::InOrder if !in_place => self.findings.out_of_order += 1,
            Arrival::InOrder => {}
            Arrival::OutOfOrder => self.findings.out_of_order += 1,
            Arrival::Repeated => self.findings.repeated += 1,
        }
        Some((event.at_ns, arrival))
    }

    fn subscribed(&mut self, id: u32, subscribed: &v1::Subscribed) {
        let at = Channel::index(id, subscribed.index).filter(|at| *at < self.channels.len());
        let Some(at) = at else { return };
        let lost = self.channels[at].subscribed(subscribed);
        self.findings.loss_notices += u64::from(lost);
        self.aliases.retain(|(_, channel)| *channel != at);
        let place = self.aliases.partition_point(|(alias, _)| *alias < subscribed.alias);
        self.aliases.insert(place, (subscribed.alias, at));
    }

    /// Records a skipped range. Returns how many records it accounts for.
    fn skipped(&mut self, skipped: &v1::Skipped) -> u64 {
        let reason = skipped.reason();
        *self.findings.skips.entry(reason.as_str_name().to_owned()).or_default() += 1;
        let Some(at) = self.channel(skipped.alias) else { return 0 };
        self.channels[at].skipped(skipped);
        if reason == SkipReason::Conflated { self.channels[at].received.skip(skipped.records) } else { 0 }
    }

    /// Records the end of a subscription. Returns the channel to subscribe to again.
    fn unsubscribed(&mut self, unsubscribed: &v1::Unsubscribed) -> Result<Option<usize>, SessionEnd> {
        let at = self.channel(unsubscribed.alias);
        self.aliases.retain(|(alias, _)| *alias != unsubscribed.alias);
        match unsubscribed.reason() {
            UnsubscribeReason::PartitionsAdded => Ok(at),
            // The following close code decides what to do.
            UnsubscribeReason::Closing => Ok(None),
            reason => {
                Err(SessionEnd::Refused(format!("the node ended a subscription: {}", reason.as_str_name())))
            }
        }
    }

    fn heartbeat(&mut self, heartbeat: &Heartbeat) {
        for (alias, at) in &self.aliases {
            let progress =
                heartbeat.progress.iter().filter(|progress| !progress.except_aliases.contains(alias));
            let progress = progress.filter_map(|progress| {
                let partition = PartitionId::try_from(progress.partition).ok()?;
                Some((partition, Offset::new(progress.next_offset)?))
            });
            let progress: BTreeMap<_, _> = progress.collect();
            self.channels[*at].progressed(&progress);
        }
    }

    fn channel(&self, alias: u32) -> Option<usize> {
        let at = self.aliases.binary_search_by_key(&alias, |(alias, _)| *alias).ok()?;
        Some(self.aliases[at].1)
    }
}
