//! Connects to one of several push nodes.

use std::io::ErrorKind::ConnectionReset;

use tailcast_client::{Client, ConnectError, Endpoint, OpenError, Options};

use crate::{
    exit::{Exit, Failure},
    output::report,
};

/// Connects to the first node that answers; the others are for later disconnects.
pub(super) async fn connect(urls: &[String]) -> Result<Client, Failure> {
    let parse = |url: &String| url.parse::<Endpoint>().map_err(|error| connect_failure(error.into()));
    let endpoints: Vec<Endpoint> = urls.iter().map(parse).collect::<Result<_, _>>()?;
    let mut left = urls.len();
    for (index, url) in urls.iter().enumerate() {
        left -= 1;
        let mut other_endpoints = endpoints.clone();
        other_endpoints.rotate_left(index);
        other_endpoints.remove(0);
        let options =
            Options { client_name: "tailcast-sub".to_owned(), other_endpoints, ..Options::default() };
        match Client::connect(url, options).await {
            Ok(client) => return Ok(client),
            Err(error) if left == 0 => return Err(connect_failure(error)),
            Err(error) => report(format_args!("{}; trying the next --url", connect_failure(error))),
        }
    }
    Err(Failure::message(Exit::Usage, "--url is empty; a URL is ws://HOST:PORT/v1/connect"))
}

/// Returns the failure with its exit code; if another kind of server answered, with the form of a
/// push node's URL.
fn connect_failure(error: ConnectError) -> Failure {
    let exit = match &error {
        ConnectError::Endpoint(_) => Exit::Usage,
        error if error.is_temporary() => Exit::Unavailable,
        _ => Exit::Refused,
    };
    let answer = match &error {
        ConnectError::Open(OpenError::Handshake { endpoint, .. }) => {
            format!("{endpoint} does not speak WebSocket")
        }
        // No server of WebSockets resets the connection of an upgrade; one of another protocol
        // does.
        ConnectError::Open(OpenError::Unreachable { endpoint, source })
            if source.kind() == ConnectionReset =>
        {
            format!("{endpoint} closed the connection during the upgrade")
        }
        // A push node refuses with other status codes, and gives the reason in the body.
        ConnectError::Open(OpenError::Refused { endpoint, status, .. })
            if [200, 400, 404, 405].contains(&status.as_u16()) =>
        {
            format!("{endpoint} answered {status}")
        }
        _ => return Failure::new(exit, error),
    };
    Failure::message(
        exit,
        format_args!(
            "{answer}; the URL of a push node is ws://HOST:PORT/v1/connect, with port 8080 by default"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_form_is_given_for_a_server_that_is_no_push_node() {
        let answered = |status: http::StatusCode| {
            let (endpoint, body) = ("ws://a:1/x".to_owned(), "why\nhow".to_owned());
            let refused = OpenError::Refused { endpoint, status, retry_after: None, body };
            connect_failure(refused.into()).to_string()
        };
        let not_found = answered(http::StatusCode::NOT_FOUND);
        assert!(
            not_found.starts_with("ws://a:1/x answered 404 Not Found; the URL of a push node is"),
            "{not_found}"
        );
        // It was "cannot reach" alone: so it was with the port of a Kafka.
        let (endpoint, source) = ("ws://a:1/x".to_owned(), ConnectionReset.into());
        let reset = connect_failure(OpenError::Unreachable { endpoint, source }.into()).to_string();
        assert!(reset.contains("the URL of a push node is"), "{reset}");
        let full = answered(http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(full, "ws://a:1/x answered 503 Service Unavailable why\nhow");
    }

    #[tokio::test]
    async fn every_url_is_tried_before_the_command_fails() {
        let closed = ["ws://127.0.0.1:1", "ws://127.0.0.1:2"].map(str::to_owned);
        let failed = connect(&closed).await.expect_err("nobody listens on these ports");
        assert_eq!(failed.exit(), Exit::Unavailable);
        assert!(failed.to_string().contains("127.0.0.1:2"), "{failed}");
        let wrong = ["ws://127.0.0.1:1", "http://127.0.0.1:2"].map(str::to_owned);
        assert_eq!(connect(&wrong).await.expect_err("not a WebSocket URL").exit(), Exit::Usage);
    }
}
