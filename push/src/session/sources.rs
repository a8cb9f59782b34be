//! Where the starts and pages of sessions come from.
//!
//! The one place in push that checks permissions: before each start, which includes resumptions,
//! and before each page that is read for a subscription that runs already. Nothing is looked up
//! before the check.

use std::{fmt, sync::Arc};

use tailcast_proto::{Channel, push::v1::ErrorCode};
use tailcast_services::{
    permission::{Action, PermissionDenied, Permissions},
    principal::Principal,
};

use super::{
    request::{CommandError, Request},
    rules::{PageAnswer, PageRefusal, subscriptions::PageRequest},
    start::{Started, Starter},
};
use crate::kafka::catch_up::CatchUp;

/// Finds starts and pages.
pub(crate) struct Sources {
    starter: Starter,
    catch_up: CatchUp,
    permissions: Permissions,
}

impl Sources {
    pub(crate) fn new(starter: Starter, catch_up: CatchUp, permissions: Permissions) -> Arc<Self> {
        Arc::new(Self { starter, catch_up, permissions })
    }

    /// Finds where a subscription starts. Waits for Kafka where it has to; cancel safe.
    pub(super) async fn start(
        self: Arc<Self>,
        principal: Principal,
        request: Request,
    ) -> (Request, Result<Started, CommandError>) {
        let started = match self.check(&principal, &request.channel) {
            Ok(()) => self.starter.start(&request).await,
            Err(denied) => Err(CommandError::new(ErrorCode::Forbidden, denied.to_string())),
        };
        (request, started)
    }

    /// Reads a page. Cancel safe.
    pub(super) async fn page(self: Arc<Self>, principal: Principal, request: PageRequest) -> PageAnswer {
        let PageRequest { cursor, serial, channel, partition, offset } = request;
        let page = match self.check(&principal, &channel.channel) {
            Ok(()) => self.catch_up.page(partition, offset).await.map_err(PageRefusal::Unreadable),
            Err(_) => Err(PageRefusal::Forbidden),
        };
        PageAnswer { cursor, serial, page }
    }

    fn check(&self, principal: &Principal, channel: &Channel) -> Result<(), PermissionDenied> {
        self.permissions.check(principal, Action::Subscribe(channel))
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use prometheus_client::registry::Registry;
    use tailcast_proto::push::v1;
    use tailcast_services::{
        kafka::Settings, lifecycle::Lifecycle, permission, readiness::Readiness, topics::Epochs,
    };

    use super::{
        super::{request::parse_subscribe, rules},
        *,
    };
    use crate::{config::tests::defaults, push::Push};

    /// Denies every channel of topic `secret`.
    struct NoSecrets;

    impl permission::Policy for NoSecrets {
        fn allows(&self, _: &Principal, action: Action<'_>) -> bool {
            !matches!(action, Action::Subscribe(channel) if channel.topic.as_ref() == "secret")
        }
    }

    /// Sources of a node that looks for Kafka where there is none.
    async fn sources() -> Arc<Sources> {
        let mut config = defaults();
        config.listen.set_port(0);
        let (lifecycle, readiness) = (Lifecycle::new(), Readiness::new());
        let (kafka, mut registry) = (Settings::at("127.0.0.1:1"), Registry::default());
        let push = Push::bind(config, kafka, Epochs::Kafka, &lifecycle, &readiness, &mut registry);
        let (_, sessions) = push.await.expect("loopback has a port and there are threads").into_parts();
        let Sources { starter, catch_up, .. } = &*sessions.sources;
        Sources::new(starter.clone(), catch_up.clone(), Permissions::new(NoSecrets))
    }

    fn request(name: &str) -> Request {
        let target = Some(v1::subscribe::Target::Name(name.to_owned()));
        parse_subscribe(1, 0, v1::Subscribe { target, ..v1::Subscribe::default() }).expect("it is valid")
    }

    #[tokio::test]
    async fn a_start_without_permission_is_refused_before_anything_is_looked_up() {
        let sources = sources().await;
        let start = |name| Arc::clone(&sources).start(Principal::Anonymous, request(name)).now_or_never();
        let (_, refused) = start("secret/a").expect("Kafka is not asked");
        let error = refused.expect_err("it is denied");
        assert_eq!(error.code, ErrorCode::Forbidden, "{error:?}");
        assert!(error.detail.contains("permission denied: anonymous"), "{error:?}");
        assert!(start("open/a").is_none(), "the topic is being looked up");
    }

    #[tokio::test]
    async fn a_page_without_permission_is_not_read() {
        let sources = sources().await;
        let page = |topic| {
            let request = rules::tests::page_request(topic);
            Arc::clone(&sources).page(Principal::Anonymous, request).now_or_never()
        };
        let answer = page("secret").expect("Kafka is not asked");
        assert_eq!(answer.page.expect_err("it is denied"), PageRefusal::Forbidden);
        assert!(page("open").is_none(), "the page is being read");
    }
}
