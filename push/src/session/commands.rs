//! What a session does with each command.

use std::{sync::Arc, time::Instant};

use tailcast_proto::{
    delivery::Format,
    push::v1::{self, ErrorCode, UnsubscribeReason, client_message::Command},
};

use super::{
    CloseReason, Session, Writer,
    inbound::Inbound,
    reply,
    request::{self, Refusal, Request, Target},
    start::Started,
};
use crate::record::channel::Encoding;

impl<W: Writer> Session<W> {
    pub(super) fn take_message(&mut self, message: Inbound) -> Result<(), CloseReason> {
        self.liveness.heard();
        let bytes = match (message, self.format) {
            (Inbound::Ping(payload), _) => {
                self.outbox.push_pong(&payload);
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
        commands.into_iter().try_for_each(|command| self.take_command(command))
    }

    fn take_command(&mut self, message: v1::ClientMessage) -> Result<(), CloseReason> {
        let id = message.id;
        let Some(command) = message.command else {
            if self.is_greeting() {
                return Err(CloseReason::State("the first command has to be connect"));
            }
            self.refuse(id, 0, Refusal::unsupported("command", "this node knows no such command"));
            return Ok(());
        };
        match (self.is_greeting(), request::is_connect(&command)) {
            (true, false) => return Err(CloseReason::State("the first command has to be connect")),
            (false, true) => return Err(CloseReason::State("this session is connected already")),
            _ => {}
        }
        match command {
            Command::Connect(connect) => self.connect(id, connect),
            Command::Subscribe(subscribe) => self.subscribe(id, 0, subscribe),
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(id, unsubscribe),
            Command::Refresh(_) => self.reply(id, v1::frame::Frame::Refreshed(v1::Refreshed::default())),
            Command::Pong(v1::Pong {}) => {}
        }
        Ok(())
    }

    fn connect(&mut self, id: u32, connect: v1::Connect) {
        let most = self.shared.config.sessions.subscriptions_max;
        if let Err(refusal) = request::check_connect(&connect, most) {
            return self.refuse(id, 0, refusal);
        }
        self.liveness.connected(Instant::now());
        tracing::debug!(
            session = self.id,
            client = connect.client_name,
            version = connect.client_version,
            "connected"
        );
        let connected = reply::connected(&self.shared.node, self.id, &self.shared.config.sessions);
        self.reply(id, v1::frame::Frame::Connected(connected));
        for (index, subscribe) in (0..).zip(connect.subscriptions) {
            self.subscribe(id, index, subscribe);
        }
    }

    fn subscribe(&mut self, id: u32, index: u32, subscribe: v1::Subscribe) {
        let request = match request::parse_subscribe(id, index, subscribe) {
            Ok(request) => request,
            Err(refusal) => return self.refuse(id, index, refusal),
        };
        let most = self.shared.config.sessions.subscriptions_max;
        if self.subscriptions.len() + self.starting.len() >= most {
            let detail = format!("a session has at most {most} subscriptions here; open another one");
            return self.refuse(id, index, Refusal::new(ErrorCode::TooManySubscriptions, detail));
        }
        if self.starting.contains_key(&request.channel) || self.subscriptions.has(&request.channel) {
            let detail = format!("this session is subscribed to {} already", request.channel);
            return self.refuse(id, index, Refusal::new(ErrorCode::AlreadySubscribed, detail));
        }
        self.starting.insert(request.channel.clone(), None);
        self.starts.push(Box::pin(self.shared.starter.clone().start(request)));
    }

    pub(super) fn started(&mut self, (request, started): (Request, Result<Started, Refusal>)) {
        let overtaken = self.starting.remove(&request.channel).flatten();
        if self.starting.is_empty() {
            // Most sessions subscribe once, and keep no memory for it.
            self.starting.shrink_to_fit();
        }
        let started = match started {
            Ok(started) => started,
            Err(refusal) => {
                if let Some(unsubscribe) = overtaken {
                    self.refuse(unsubscribe, 0, not_subscribed());
                }
                return self.refuse(request.id, request.index, refusal);
            }
        };
        let most = self.shared.config.sessions.cursors_max;
        if self.subscriptions.cursors() + started.partitions.len() > most {
            if let Some(unsubscribe) = overtaken {
                self.refuse(unsubscribe, 0, not_subscribed());
            }
            let detail = format!(
                "the subscriptions of a session span at most {most} partitions together here, and topic {} has {}; open \
                 another session",
                request.channel.topic, started.partition_count
            );
            let refusal = Refusal::new(ErrorCode::TooManySubscriptions, detail);
            return self.refuse(request.id, request.index, refusal);
        }
        self.shared.metrics.subscriptions.inc();
        let encoding = Encoding { format: self.format, headers: request.headers };
        let (outcome, lost) = (started.outcome, started.lost.clone());
        self.shared.metrics.retention_losses.inc_by(lost.len() as u64);
        let channel = Arc::clone(&started.channel);
        let (alias, position) = self.subscriptions.add(started, encoding, request.mode);
        let start = reply::Start { channel: &channel, position: &position, outcome, lost };
        let subscribed = reply::subscribed(&request, start);
        self.reply(request.id, v1::frame::Frame::Subscribed(subscribed));
        if let Some(unsubscribe) = overtaken {
            self.end(unsubscribe, alias);
        }
    }

    fn unsubscribe(&mut self, id: u32, unsubscribe: v1::Unsubscribe) {
        let alias = match request::parse_unsubscribe(unsubscribe) {
            Err(refusal) => return self.refuse(id, 0, refusal),
            Ok(Target::Alias(alias)) => Some(alias),
            Ok(Target::Channel(channel)) => {
                if let Some(overtaken @ None) = self.starting.get_mut(&channel) {
                    *overtaken = Some(id);
                    return;
                }
                self.subscriptions.alias_of(&channel)
            }
        };
        match alias {
            Some(alias) => self.end(id, alias),
            None => self.refuse(id, 0, not_subscribed()),
        }
    }

    fn end(&mut self, id: u32, alias: u32) {
        match self.subscriptions.remove(alias, UnsubscribeReason::Requested) {
            Some(unsubscribed) => {
                self.shared.metrics.subscriptions.dec();
                self.reply(id, v1::frame::Frame::Unsubscribed(unsubscribed));
            }
            None => self.refuse(id, 0, not_subscribed()),
        }
    }
}

fn not_subscribed() -> Refusal {
    Refusal::new(ErrorCode::NotSubscribed, "this session has no such subscription")
}
