//! The application's side of the task: commands are received and events delivered while something
//! else is awaited.

use std::{collections::VecDeque, future, future::Future};

use tokio::sync::mpsc;

use super::{CloseRequested, Closing, Command, Driver};
use crate::Event;

/// The first of several awaited things.
enum Turn<T> {
    Command(Option<Command>),
    /// An event was delivered, or the previous connection is closed.
    Progress,
    Done(T),
}

impl Driver {
    /// Runs a future to completion, and meanwhile receives commands and delivers events.
    pub(super) async fn serve_until<T>(
        &mut self,
        future: impl Future<Output = T>,
    ) -> Result<T, CloseRequested> {
        let mut future = Box::pin(future);
        loop {
            let turn = tokio::select! {
                biased;
                command = self.commands.recv() => Turn::Command(command),
                permit = self.events.reserve(), if !self.outbox.is_empty() => {
                    deliver(permit, &mut self.outbox)?;
                    Turn::Progress
                }
                () = close_finished(&mut self.closing) => Turn::Progress,
                output = &mut future => Turn::Done(output),
            };
            match turn {
                Turn::Command(command) => self.take(command)?,
                Turn::Progress => {}
                Turn::Done(output) => return Ok(output),
            }
        }
    }

    /// Delivers all events in the outbox, and meanwhile receives commands.
    pub(super) async fn flush_events(&mut self) -> Result<(), CloseRequested> {
        while !self.outbox.is_empty() {
            let command = tokio::select! {
                biased;
                permit = self.events.reserve() => {
                    deliver(permit, &mut self.outbox)?;
                    continue;
                }
                command = self.commands.recv() => command,
            };
            self.take(command)?;
        }
        Ok(())
    }

    /// Applies a command. [`Resume`](crate::Resume) turns it into commands for the node when there
    /// is a connection.
    pub(super) fn take(&mut self, command: Option<Command>) -> Result<(), CloseRequested> {
        match command {
            Some(Command::Subscribe(subscription, answer)) => {
                // The subscription is added even if the application no longer waits for the answer.
                let _ = answer.send(self.resume.add(*subscription));
                Ok(())
            }
            Some(Command::Unsubscribe(channel)) => {
                self.resume.unsubscribe(&channel);
                Ok(())
            }
            Some(Command::Close(answer)) => {
                self.close_answer = Some(answer);
                Err(CloseRequested)
            }
            None => Err(CloseRequested),
        }
    }

    /// Sends an event to the application, or keeps it in the outbox until there is room.
    pub(super) fn emit(&mut self, event: Event) {
        if self.outbox.is_empty() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => self.outbox.push_back(event),
                // The application has dropped the client, which closes the command queue too.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        } else {
            self.outbox.push_back(event);
        }
    }
}

/// Delivers the oldest event in the outbox.
pub(super) fn deliver(
    room: Result<mpsc::Permit<'_, Event>, mpsc::error::SendError<()>>,
    outbox: &mut VecDeque<Event>,
) -> Result<(), CloseRequested> {
    let room = room.map_err(|_| CloseRequested)?;
    if let Some(event) = outbox.pop_front() {
        room.send(event);
    }
    Ok(())
}

/// Waits until the previous connection is closed; for ever if there is none. Cancel safe.
pub(super) async fn close_finished(closing: &mut Option<Closing>) {
    match closing {
        Some(close) => {
            close.await;
            *closing = None;
        }
        None => future::pending().await,
    }
}
