//! A client's stay with one node.

use std::{collections::VecDeque, io, time::Duration};

use tailcast_proto::push::v1::{ClientMessage, Frame, Goaway, frame};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Asked, Command, Driver, give};
use crate::{
    Close, Connection, Liveness, ReceiveError, Received, SendError,
    client::establish::{ConnectError, Established},
    resume::Fault,
};

/// How long a node may take to accept a command.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a node may take to answer a close frame. Nothing depends on the answer.
const FAREWELL: Duration = Duration::from_secs(1);

/// Where a silent wait ends that has no other end.
const IDLE: Duration = Duration::from_secs(3600);

/// Why a stay ended, or did not begin.
#[derive(Debug)]
pub(super) enum Leave {
    /// The application asked for it.
    Asked,
    /// The node closed, and may have said before when to come back.
    Closed(Close, Option<Duration>),
    /// The connection broke.
    Lost(String, Option<Duration>),
    /// The node was silent for too long.
    Silent,
    /// The node asked to reconnect, and the time has come.
    Goaway { detail: String, after: Duration },
    /// The node broke the protocol.
    Fault(Fault),
    /// The attempt failed.
    Failed(ConnectError),
}

/// A client's stay with one node.
pub(super) struct Session<'a> {
    driver: &'a mut Driver,
    connection: Connection,
    /// `None`: the node announced no heartbeat.
    liveness: Option<Liveness>,
    /// What the node asked for, and when it said so.
    goaway: Option<(Goaway, Instant)>,
    early: VecDeque<Frame>,
}

enum Step {
    Command(Option<Command>),
    /// An event was handed over.
    Given,
    Received(Result<Received, ReceiveError>),
    Tick,
}

impl<'a> Session<'a> {
    pub(super) fn new(driver: &'a mut Driver, established: Established) -> Self {
        let interval = Duration::from_millis(established.connected.heartbeat_interval_ms.into());
        let liveness = (!interval.is_zero()).then(|| Liveness::new(interval, Instant::now().into_std()));
        Self { driver, connection: established.connection, liveness, goaway: None, early: established.early }
    }

    /// Runs until one side leaves, and closes the connection where that is this side.
    pub(super) async fn run(mut self) -> Leave {
        let leave = match self.begin().await {
            Ok(()) => self.stay().await,
            Err(leave) => leave,
        };
        let code = match &leave {
            Leave::Asked | Leave::Goaway { .. } => Some((1000, "")),
            Leave::Fault(_) => Some((1002, "protocol error")),
            Leave::Closed(..) | Leave::Lost(..) | Leave::Silent | Leave::Failed(_) => None,
        };
        if let Some((code, reason)) = code {
            self.connection.close(code, reason, FAREWELL).await;
        }
        leave
    }

    /// Takes what came with `Connected`, and asks for what was added while the connection was being opened.
    async fn begin(&mut self) -> Result<(), Leave> {
        for frame in std::mem::take(&mut self.early) {
            self.frame(frame)?;
        }
        self.send_due().await
    }

    async fn stay(&mut self) -> Leave {
        loop {
            let free = self.driver.outbox.is_empty();
            let deadline = self.deadline(free);
            let step = tokio::select! {
                biased;
                command = self.driver.commands.recv() => Step::Command(command),
                permit = self.driver.events.reserve(), if !free => {
                    match give(permit, &mut self.driver.outbox) {
                        Ok(()) => Step::Given,
                        Err(Asked) => return Leave::Asked,
                    }
                }
                received = self.connection.receive(), if free => Step::Received(received),
                () = sleep_until(deadline) => Step::Tick,
            };
            if let Err(leave) = self.apply(step).await {
                return leave;
            }
        }
    }

    async fn apply(&mut self, step: Step) -> Result<(), Leave> {
        match step {
            Step::Command(command) => {
                self.driver.take(command).map_err(|Asked| Leave::Asked)?;
                self.send_due().await
            }
            Step::Given => {
                // Whoever did not listen cannot tell silence.
                self.heard();
                Ok(())
            }
            Step::Received(Ok(received)) => {
                self.heard();
                received.message.frames.into_iter().try_for_each(|frame| self.frame(frame))?;
                // A frame may be a reason to ask again.
                self.send_due().await
            }
            Step::Received(Err(error)) => Err(self.ended(error)),
            Step::Tick => self.tick().await,
        }
    }

    fn frame(&mut self, frame: Frame) -> Result<(), Leave> {
        if let Some(frame::Frame::Goaway(goaway)) = frame.frame {
            self.goaway = Some((goaway, Instant::now()));
            return Ok(());
        }
        let now = Instant::now().into_std();
        if let Some(event) = self.driver.resume.observe(frame, now).map_err(Leave::Fault)? {
            self.driver.emit(event);
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Leave> {
        let now = Instant::now();
        if self.goaway_at().is_some_and(|at| now >= at) {
            let detail = self.goaway.take().map(|(goaway, _)| goaway.detail).unwrap_or_default();
            return Err(Leave::Goaway { detail, after: Duration::ZERO });
        }
        let listening = self.driver.outbox.is_empty();
        if listening && self.liveness.is_some_and(|liveness| liveness.is_dead(now.into_std())) {
            return Err(Leave::Silent);
        }
        self.send_due().await
    }

    /// Returns when `tick` has something to do.
    fn deadline(&self, listening: bool) -> Instant {
        let dead = self.liveness.filter(|_| listening).map(|liveness| liveness.deadline().into());
        let due = self.driver.resume.next_due().map(Instant::from_std);
        let times = [dead, due, self.goaway_at()];
        times.into_iter().flatten().min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    /// Returns when to leave as a goaway asks. Until then the node still delivers.
    fn goaway_at(&self) -> Option<Instant> {
        let (goaway, said) = self.goaway.as_ref()?;
        Some(*said + Duration::from_millis(goaway.retry_after_ms.into()))
    }

    /// Returns how the connection ended, with what is left of the wait that a goaway asked for.
    fn ended(&self, error: ReceiveError) -> Leave {
        let after = self.goaway_at().map(|at| at.saturating_duration_since(Instant::now()));
        match error {
            ReceiveError::Closed(close) => Leave::Closed(close, after),
            error => Leave::Lost(error.to_string(), after),
        }
    }

    async fn send_due(&mut self) -> Result<(), Leave> {
        for message in self.driver.resume.due(Instant::now().into_std()) {
            self.send(message).await?;
        }
        Ok(())
    }

    async fn send(&mut self, message: ClientMessage) -> Result<(), Leave> {
        let sent = timeout(PATIENCE, self.connection.send(&message));
        match sent.await.unwrap_or(Err(SendError::Stuck(PATIENCE))) {
            Ok(()) => Ok(()),
            // The node has closed: what it said is still to be read, and says more.
            Err(SendError::Closed(error)) => {
                tracing::debug!(%error, "a command was not sent");
                match timeout(PATIENCE, self.connection.receive()).await {
                    Ok(Err(error)) => Err(self.ended(error)),
                    _ => Err(self.ended(ReceiveError::Lost(io::ErrorKind::BrokenPipe.into()))),
                }
            }
            Err(error @ SendError::Stuck(_)) => Err(Leave::Lost(error.to_string(), None)),
        }
    }

    fn heard(&mut self) {
        if let Some(liveness) = &mut self.liveness {
            liveness.heard(Instant::now().into_std());
        }
    }
}
