//! Requests to the server.

use serde_json::{Value, json};
use std::time::Duration;

/// Bytes that an answer may have.
const LARGEST: u64 = 1 << 30;

/// A connection to the server, kept open between requests.
#[derive(Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
    url: String,
    authorization: Option<String>,
}

/// What clients ask for.
pub(super) struct Load {
    pub(super) body: Value,
    /// Images of one request.
    pub(super) count: usize,
    /// Share of requests that are left before the answer.
    pub(super) leave: f64,
}

/// How a request ended.
pub(super) enum End {
    Done,
    /// The queue was full.
    Refused,
    /// The client left, as it meant to.
    Left,
    Failed(String),
}

impl Client {
    pub(super) fn new(url: &str, token: Option<&str>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .build();
        Self {
            agent: config.into(),
            url: url.into(),
            authorization: token.map(|token| format!("Bearer {token}")),
        }
    }

    /// With connections of its own.
    pub(super) fn another(&self) -> Self {
        Self {
            agent: self.agent.config().clone().into(),
            ..self.clone()
        }
    }

    /// Sends one request, to know that requests are answered.
    ///
    /// # Errors
    /// Why they are not.
    pub(super) fn try_once(&self, load: &Load) -> Result<(), String> {
        match self.generate(load, 0, None) {
            End::Done => Ok(()),
            End::Refused => Err("the server is busy: its queue is full".into()),
            End::Left => Err(format!("{} does not answer", self.url)),
            End::Failed(message) => Err(message),
        }
    }

    /// Generates with this seed. Leaves after `patience`.
    pub(super) fn generate(&self, load: &Load, seed: u64, patience: Option<Duration>) -> End {
        let mut body = load.body.clone();
        body["seed"] = json!(seed);
        let request = self.agent.post(format!("{}/api/v1/generate", self.url));
        let request = request.config().timeout_global(patience).build();
        let request = request.header("Content-Type", "application/json");
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        let answer = request.send(body.to_string()).and_then(|mut response| {
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(LARGEST);
            Ok((status, body.read_to_vec()?))
        });
        match answer {
            Ok((200, _)) => End::Done,
            Ok((429, _)) => End::Refused,
            Ok((status, body)) => {
                let body: Value = serde_json::from_slice(&body).unwrap_or_default();
                let message = body["error"]["message"].as_str().unwrap_or("no message");
                End::Failed(format!("the server answers with {status}: {message}"))
            }
            Err(ureq::Error::Timeout(_)) if patience.is_some() => End::Left,
            Err(error) => End::Failed(format!("{}: {error}", self.url)),
        }
    }

    /// The numbers of the server's metrics; 0 for one that there is not.
    pub(super) fn metrics<const N: usize>(&self, names: [&str; N]) -> [f64; N] {
        let request = self.agent.get(format!("{}/metrics", self.url));
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        let text = request
            .call()
            .and_then(|mut r| r.body_mut().read_to_string());
        let text = text.unwrap_or_default();
        names.map(|name| {
            let value = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
        })
    }
}
