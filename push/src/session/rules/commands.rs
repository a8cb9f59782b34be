//! What a session does with each command.

use std::sync::Arc;

use tailcast_proto::{
    delivery::Format,
    push::v1::{self, ErrorCode, UnsubscribeReason, client_message::Command},
};

use super::{Action, CloseReason, Moment, Rules};
use crate::{
    record::channel::Encoding,
    session::{
        inbound::Inbound,
        reply,
        request::{self, CommandError, Request, Target},
        start::Started,
    },
};

impl Rules {
    pub(super) fn inbound(
        &mut self,
        message: Inbound,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), CloseReason> {
        self.liveness.heard();
        let bytes = match (message, self.format) {
            (Inbound::Ping(payload), _) => {
                actions.push(Action::Pong(payload));
                return Ok(());
            }
            (Inbound::Pong, _) => return Ok(()),
            (Inbound::Close(code), _) => return Err(CloseReason::Client(code)),
            (Inbound::End, _) => return Err(CloseReason::Lost),
            (Inbound::Binary(bytes), Format::Proto) | (Inbound::Text(bytes), Format::Json) => bytes,
            (Inbound::Text(_), Format::Proto) => return Err(CloseReason::WrongType { expected: "binary" }),
            (Inbound::Binary(_), Format::Json) => return Err(CloseReason::WrongType { expected: "text" }),
        };
        let commands = request::decode(self.format, &bytes).map_err(CloseReason::NotAMessage)?;
        commands.into_iter().try_for_each(|command| self.command(command, at, actions))
    }

    fn command(
        &mut self,
        message: v1::ClientMessage,
        at: Moment,
        actions: &mut Vec<Action>,
    ) -> Result<(), CloseReason> {
        let id = message.id;
        let Some(command) = message.command else {
            if self.is_greeting() {
                return Err(CloseReason::State("the first command must be connect"));
            }
            actions.refuse(id, 0, CommandError::unsupported("command", "unknown command"));
            return Ok(());
        };
        match (self.is_greeting(), request::is_connect(&command)) {
            (true, false) => return Err(CloseReason::State("the first command must be connect")),
            (false, true) => return Err(CloseReason::State("this session is already connected")),
            _ => {}
        }
        match command {
            Command::Connect(connect) => self.connect(id, connect, at, actions),
            Command::Subscribe(subscribe) => self.subscribe(id, 0, subscribe, actions),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(id, unsubscribe, actions),
            Command::Refresh(_) => {
                actions.reply(id, v1::frame::Frame::Refreshed(v1::Refreshed::default()));
            }
            Command::Pong(v1::Pong {}) => {}
        }
        Ok(())
    }

    fn connect(&mut self, id: u32, connect: v1::Connect, at: Moment, actions: &mut Vec<Action>) {
        let limit = self.policy.sessions.subscriptions_max;
        if let Err(error) = request::check_connect(&connect, limit) {
            return actions.refuse(id, 0, error);
        }
        self.liveness.connected(at.now);
        tracing::debug!(
            session = self.id,
            client = connect.client_name,
            version = connect.client_version,
            "connected"
        );
        let connected = reply::connected(&self.policy.node, self.id, &self.policy.sessions, at.wall_ms);
        actions.reply(id, v1::frame::Frame::Connected(connected));
        for (index, subscribe) in (0..).zip(connect.subscriptions) {
            self.subscribe(id, index, subscribe, actions);
        }
    }

    fn subscribe(&mut self, id: u32, index: u32, subscribe: v1::Subscribe, actions: &mut Vec<Action>) {
        let request = match request::parse_subscribe(id, index, subscribe) {
            Ok(request) => request,
            Err(error) => return actions.refuse(id, index, error),
        };
        let limit = self.policy.sessions.subscriptions_max;
        if self.subscriptions.len() + self.starting.len() >= limit {
            let detail = format!("subscription limit reached ({limit} per session); open another session");
            return actions.refuse(id, index, CommandError::new(ErrorCode::TooManySubscriptions, detail));
        }
        if self.starting.contains_key(&request.channel) || self.subscriptions.has(&request.channel) {
            let detail = format!("already subscribed to {}", request.channel);
            return actions.refuse(id, index, CommandError::new(ErrorCode::AlreadySubscribed, detail));
        }
        self.starting.insert(request.channel.clone(), None);
        actions.push(Action::Start(request));
    }

    /// Takes the answer to [`Action::Start`].
    pub(super) fn started(
        &mut self,
        (request, started): (Request, Result<Started, CommandError>),
        actions: &mut Vec<Action>,
    ) {
        let unsubscribe = self.starting.remove(&request.channel).flatten();
        if self.starting.is_empty() {
            // Most sessions subscribe once, and need no memory for it afterwards.
            self.starting.shrink_to_fit();
        }
        let started = match started.and_then(|started| self.check_cursors(&request, started)) {
            Ok(started) => started,
            Err(error) => {
                if let Some(unsubscribe) = unsubscribe {
                    actions.refuse(unsubscribe, 0, not_subscribed());
                }
                return actions.refuse(request.id, request.index, error);
            }
        };
        let encoding = Encoding { format: self.format, headers: request.headers };
        let (outcome, lost) = (started.outcome, started.lost.clone());
        let channel = Arc::clone(&started.channel);
        let (alias, position) = self.subscriptions.add(started, encoding, request.mode);
        let start = reply::Start { channel: &channel, position: &position, outcome, lost };
        let subscribed = reply::subscribed(&request, start);
        actions.reply(request.id, v1::frame::Frame::Subscribed(subscribed));
        if let Some(unsubscribe) = unsubscribe {
            self.end(unsubscribe, alias, actions);
        }
    }

    /// Checks that a session may have the cursors of one more subscription.
    fn check_cursors(&self, request: &Request, started: Started) -> Result<Started, CommandError> {
        let limit = self.policy.sessions.cursors_max;
        if self.subscriptions.cursors() + started.partitions.len() <= limit {
            return Ok(started);
        }
        let detail = format!(
            "partition limit exceeded ({limit} for all subscriptions of a session): topic {} has {}; open another session",
            request.channel.topic, started.partition_count
        );
        Err(CommandError::new(ErrorCode::TooManySubscriptions, detail))
    }

    fn unsubscribe(&mut self, id: u32, unsubscribe: v1::Unsubscribe, actions: &mut Vec<Action>) {
        let alias = match request::parse_unsubscribe(unsubscribe) {
            Err(error) => return actions.refuse(id, 0, error),
            Ok(Target::Alias(alias)) => Some(alias),
            Ok(Target::Channel(channel)) => {
                if let Some(unsubscribe @ None) = self.starting.get_mut(&channel) {
                    *unsubscribe = Some(id);
                    return;
                }
                self.subscriptions.alias_of(&channel)
            }
        };
        match alias {
            Some(alias) => self.end(id, alias, actions),
            None => actions.refuse(id, 0, not_subscribed()),
        }
    }

    fn end(&mut self, id: u32, alias: u32, actions: &mut Vec<Action>) {
        match self.subscriptions.remove(alias, UnsubscribeReason::Requested) {
            Some(unsubscribed) => actions.reply(id, v1::frame::Frame::Unsubscribed(unsubscribed)),
            None => actions.refuse(id, 0, not_subscribed()),
        }
    }
}

/// The replies to a command.
trait Replies {
    /// Replies with a frame.
    fn reply(&mut self, id: u32, frame: v1::frame::Frame);

    /// Replies with an error.
    fn refuse(&mut self, id: u32, index: u32, error: CommandError) {
        self.reply(id, v1::frame::Frame::Error(reply::error(index, error)));
    }
}

impl Replies for Vec<Action> {
    fn reply(&mut self, id: u32, frame: v1::frame::Frame) {
        self.push(Action::Reply { id, frame });
    }
}

fn not_subscribed() -> CommandError {
    CommandError::new(ErrorCode::NotSubscribed, "this session has no such subscription")
}
