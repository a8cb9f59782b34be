//! A session with one node.

use std::{io, mem, time::Duration};

use tailcast_proto::push::v1::{ClientMessage, Frame, frame};
use tokio::time::{Instant, sleep_until, timeout};

use super::{
    CloseRequested, Command, Driver,
    application::{close_finished, deliver},
    end::{EndReason, SessionEnd},
    next::{Live, Next, NextEvent},
};
use crate::{ReceiveError, Received, SendError, client::establish::Established, departure::Departure};

/// Timeout for sending a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// Timeout of a closing handshake. Nothing depends on its result.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum time between two ticks, if nothing else is due.
const IDLE: Duration = Duration::from_secs(3600);

/// A session with one node.
pub(super) struct Session<'a> {
    pub(super) driver: &'a mut Driver,
    pub(super) begun: Instant,
    current: Live,
    /// The schedule for leaving a node that drains.
    pub(super) departure: Option<Departure>,
    pub(super) next: Next,
}

enum Step {
    Command(Option<Command>),
    /// An event was delivered to the application.
    EventDelivered,
    /// The previous connection is closed.
    PreviousClosed,
    Next(NextEvent),
    Received(Result<Received, ReceiveError>),
    Tick,
}

impl<'a> Session<'a> {
    pub(super) fn new(driver: &'a mut Driver, established: Established) -> Self {
        let begun = Instant::now();
        let current = Live::new(established, begun);
        Self { driver, begun, current, departure: None, next: Next::None }
    }

    /// Runs until one side ends the session, and closes the connection if this side does.
    pub(super) async fn run(mut self) -> SessionEnd {
        let reason = match self.begin().await {
            Ok(()) => self.stay().await,
            Err(reason) => reason,
        };
        let code = match &reason {
            EndReason::CloseRequested | EndReason::Goaway(_) | EndReason::Moved => Some((1000, "")),
            EndReason::Fault(_) => Some((1002, "protocol error")),
            EndReason::Closed(_) | EndReason::Lost(_) | EndReason::Silent | EndReason::Failed(_) => None,
        };
        let now = Instant::now().into_std();
        let wait = match &self.departure {
            Some(departure) => Some(departure.wait_left(now)),
            None => {
                self.driver.backoff.lasted(self.begun.elapsed());
                None
            }
        };
        let Self { driver, current, next, .. } = self;
        if let Some((code, reason)) = code {
            driver.close_in_background(current.established.connection, code, reason);
        }
        SessionEnd { reason, next, wait }
    }

    /// Applies the frames that arrived with `Connected`, and sends the commands that became due
    /// meanwhile.
    async fn begin(&mut self) -> Result<(), EndReason> {
        for frame in mem::take(&mut self.current.established.early) {
            self.frame(frame)?;
        }
        self.send_due().await
    }

    async fn stay(&mut self) -> EndReason {
        loop {
            let free = self.driver.outbox.is_empty();
            let deadline = self.deadline(free);
            let step = tokio::select! {
                biased;
                command = self.driver.commands.recv() => Step::Command(command),
                permit = self.driver.events.reserve(), if !free => {
                    match deliver(permit, &mut self.driver.outbox) {
                        Ok(()) => Step::EventDelivered,
                        Err(CloseRequested) => return EndReason::CloseRequested,
                    }
                }
                () = close_finished(&mut self.driver.closing) => Step::PreviousClosed,
                // The next connection has priority: it also delivers the records of the current
                // one.
                event = self.next.event(free) => Step::Next(event),
                received = self.current.established.connection.receive(), if free => Step::Received(received),
                () = sleep_until(deadline) => Step::Tick,
            };
            if let Err(reason) = self.apply(step).await {
                return reason;
            }
        }
    }

    async fn apply(&mut self, step: Step) -> Result<(), EndReason> {
        match step {
            Step::Command(command) => {
                self.driver.take(command).map_err(|CloseRequested| EndReason::CloseRequested)?;
                self.send_due().await
            }
            Step::EventDelivered => {
                // Nothing was read until now, so the node may have sent something.
                self.heard();
                Ok(())
            }
            Step::PreviousClosed => Ok(()),
            Step::Next(event) => {
                self.next_event(event)?;
                // A busy next connection must not delay the deadline of the current one.
                self.depart()
            }
            Step::Received(Ok(received)) => {
                self.current.heard(Instant::now());
                let taken = received.message.frames.into_iter().try_for_each(|frame| self.frame(frame));
                // Also after a fault: an earlier frame may have changed the subscriptions.
                self.check_next(true);
                taken?;
                // A busy node must not delay its own deadline.
                self.depart()?;
                // A frame may make a command due.
                self.send_due().await
            }
            Step::Received(Err(error)) => Err(ended(error)),
            Step::Tick => self.tick().await,
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), EndReason> {
        if let Some(frame::Frame::Goaway(goaway)) = &frame.frame {
            self.goaway(goaway);
            return Ok(());
        }
        let now = Instant::now().into_std();
        if let Some(event) = self.driver.resume.observe(frame, now).map_err(EndReason::Fault)? {
            self.driver.emit(event);
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), EndReason> {
        let listening = self.driver.outbox.is_empty();
        self.check_next(listening);
        self.depart()?;
        if listening && self.current.is_dead(Instant::now()) {
            return Err(EndReason::Silent);
        }
        self.send_due().await
    }

    /// Returns when the next `tick` is due.
    fn deadline(&self, listening: bool) -> Instant {
        let dead = self.current.deadline().filter(|_| listening);
        let next_dead = match &self.next {
            Next::Live(live) => live.deadline().filter(|_| listening),
            Next::Opening(_) | Next::None => None,
        };
        let due = self.driver.resume.next_due().map(Instant::from_std);
        let duty = self.departure.as_ref().and_then(Departure::next_duty).map(Instant::from_std);
        [dead, next_dead, due, duty].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    async fn send_due(&mut self) -> Result<(), EndReason> {
        for message in self.driver.resume.due(Instant::now().into_std()) {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: ClientMessage) -> Result<(), EndReason> {
        let sent = timeout(PATIENCE, self.current.established.connection.send(&message));
        match sent.await.unwrap_or(Err(SendError::Stuck(PATIENCE))) {
            Ok(()) => Ok(()),
            // The node has closed the connection; its close frame has the reason.
            Err(SendError::Closed(error)) => {
                tracing::debug!(%error, "a command was not sent");
                match timeout(PATIENCE, self.current.established.connection.receive()).await {
                    Ok(Err(error)) => Err(ended(error)),
                    _ => Err(ended(ReceiveError::Lost(io::ErrorKind::BrokenPipe.into()))),
                }
            }
            Err(error @ SendError::Stuck(_)) => Err(EndReason::Lost(error.to_string())),
        }
    }

    fn heard(&mut self) {
        let now = Instant::now();
        self.current.heard(now);
        if let Next::Live(live) = &mut self.next {
            live.heard(now);
        }
    }
}

fn ended(error: ReceiveError) -> EndReason {
    match error {
        ReceiveError::Closed(close) => EndReason::Closed(close),
        error => EndReason::Lost(error.to_string()),
    }
}
