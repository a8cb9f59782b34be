//! A session whose node drains: the next connection is opened before this one is closed.
//!
//! [`Departure`] decides on the time of each step, and [`Resume`](crate::Resume) on the effect of
//! each frame.

use std::{mem, time::Duration};

use tailcast_proto::push::v1::{Frame, Goaway, frame};
use tokio::time::Instant;

use super::{
    end::EndReason,
    next::{Live, Next, NextEvent},
    session::Session,
};
use crate::{
    client::establish::{ConnectError, Established},
    departure::{Departure, Duty},
};

impl Session<'_> {
    /// Applies a request of the node to reconnect elsewhere.
    pub(super) fn goaway(&mut self, goaway: &Goaway) {
        let now = Instant::now().into_std();
        if let Some(departure) = &mut self.departure {
            departure.updated(goaway, now);
            return;
        }
        self.driver.backoff.served(self.begun.elapsed());
        let wait = self.driver.next_wait(Some(Duration::from_millis(goaway.retry_after_ms.into())));
        tracing::debug!(
            detail = goaway.detail,
            ?wait,
            deadline_ms = goaway.deadline_ms,
            "the node asked to reconnect elsewhere"
        );
        self.departure = Some(Departure::new(goaway, wait, now));
    }

    /// Performs the action that is due.
    pub(super) fn depart(&mut self) -> Result<(), EndReason> {
        let Some(departure) = &mut self.departure else { return Ok(()) };
        match departure.duty(Instant::now().into_std()) {
            None => Ok(()),
            Some(Duty::Attempt) => {
                departure.attempting();
                self.next = Next::Opening(self.driver.open_next());
                Ok(())
            }
            Some(Duty::Leave) => Err(EndReason::Goaway(departure.detail().to_owned())),
        }
    }

    /// Applies an event of the next connection; ends this session when the next connection is
    /// ready.
    pub(super) fn next_event(&mut self, event: NextEvent) -> Result<(), EndReason> {
        match event {
            NextEvent::Opened(Ok(established)) => self.join(*established),
            NextEvent::Opened(Err(error)) => {
                let hint = if let ConnectError::Open(error) = &error { error.retry_after() } else { None };
                self.give_up(&error, hint);
                Ok(())
            }
            NextEvent::Received(Ok(received)) => {
                if let Next::Live(live) = &mut self.next {
                    live.heard(Instant::now());
                }
                self.next_frames(received.message.frames)
            }
            NextEvent::Received(Err(error)) => {
                self.give_up(&error, None);
                Ok(())
            }
        }
    }

    /// Gives up the next connection if the subscriptions have changed since it was prepared, or its
    /// node is silent.
    pub(super) fn check_next(&mut self, listening: bool) {
        match &self.next {
            Next::Live(_) | Next::Opening(_) if !self.driver.resume.is_prepared() => {
                self.give_up(&"the subscriptions have changed", None);
            }
            Next::Live(live) if listening && live.is_dead(Instant::now()) => {
                self.give_up(&"its node was silent for longer than two heartbeats", None);
            }
            _ => {}
        }
    }

    fn join(&mut self, mut established: Established) -> Result<(), EndReason> {
        let early = mem::take(&mut established.early);
        self.next = Next::Live(Box::new(Live::new(established, Instant::now())));
        self.next_frames(early)
    }

    fn next_frames(&mut self, frames: impl IntoIterator<Item = Frame>) -> Result<(), EndReason> {
        for frame in frames {
            if let Some(frame::Frame::Goaway(goaway)) = &frame.frame {
                let hint = Duration::from_millis(goaway.retry_after_ms.into());
                self.give_up(&"its node is draining too", Some(hint));
                return Ok(());
            }
            match self.driver.resume.observe_next(frame, Instant::now().into_std()) {
                Ok(Some(event)) => self.driver.emit(event),
                Ok(None) => {}
                Err(unfit) => {
                    self.give_up(&unfit, None);
                    return Ok(());
                }
            }
        }
        if self.driver.resume.is_ready() { Err(EndReason::Moved) } else { Ok(()) }
    }

    fn give_up<T: std::fmt::Display + ?Sized>(&mut self, why: &T, hint: Option<Duration>) {
        let wait = self.driver.next_wait(hint);
        tracing::debug!(%why, ?wait, "the next connection cannot take over");
        self.driver.resume.abandon();
        if let Next::Live(live) = mem::replace(&mut self.next, Next::None) {
            self.driver.close_in_background(live.established.connection, 1000, "");
        }
        if let Some(departure) = &mut self.departure {
            departure.failed(wait, Instant::now().into_std());
        }
    }
}
