//! Asking the hub: one request, its redirects followed, tried again within bounds, refusals turned into errors.
//!
//! Redirects are followed here and not by the HTTP client, since the client would send the token to every port of the
//! endpoint's host. Which request carries the token is decided in `credentials`. Not here: what is done with the bytes.

use crate::credentials::{redirected, without_user};
use crate::{Hub, HubConfig, HubError, RepoId};
use std::time::Duration;
use ureq::{Agent, AgentBuilder, Error, ErrorKind, Response};
use url::Url;

/// The most redirects that one request follows.
const MOST_REDIRECTS: usize = 10;

/// What is asked for, for messages.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) repo: &'a RepoId,
    pub(crate) revision: &'a str,
    /// Empty for the repository itself.
    pub(crate) path: &'a str,
}

pub(crate) fn agent(config: &HubConfig) -> Result<Agent, HubError> {
    let mut builder = AgentBuilder::new()
        .timeout_connect(config.timeout)
        .timeout_read(config.timeout)
        .timeout_write(config.timeout)
        .redirects(0)
        .user_agent(&config.user_agent);
    if let Some(proxy) = &config.proxy {
        let proxy = ureq::Proxy::new(proxy)
            .map_err(|e| HubError::Setup { reason: format!("the proxy `{}`: {e}", without_user(proxy)) })?;
        builder = builder.proxy(proxy);
    }
    Ok(builder.build())
}

impl Hub {
    /// One GET, tried again while the hub is busy or cannot be reached. `range` is the value of a header.
    pub(crate) fn get(&self, url: &str, range: Option<&str>, about: About<'_>) -> Result<Response, HubError> {
        if !self.credentials.is_sendable() {
            let reason =
                "the token holds a character that no token has (only letters, digits and signs of ASCII)";
            return Err(HubError::Setup { reason: reason.into() });
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let failed = match self.follow(url, range)? {
                Answer::Came(response) => return Ok(response),
                Answer::Refused(status @ (429 | 500 | 502 | 503 | 504), response) => {
                    let wait = response.header("Retry-After").and_then(|text| text.trim().parse().ok());
                    HubError::Busy { url: url.into(), status, tries, wait }
                }
                Answer::Refused(status, response) => {
                    return Err(self.refused(status, &response, url, about));
                }
                Answer::Unreachable { host, reason } => HubError::Unreachable { host, reason },
            };
            let asked = match &failed {
                HubError::Busy { wait: Some(seconds), .. } => Some(Duration::from_secs(*seconds)),
                _ => None,
            };
            // A hub that cannot be reached at all is told soon: the cache may do instead.
            let again =
                if asked.is_none() && matches!(failed, HubError::Unreachable { .. }) { 1 } else { u32::MAX };
            if tries > self.config.retries.min(again)
                || asked.is_some_and(|wait| wait > self.config.longest_pause)
            {
                return Err(failed);
            }
            std::thread::sleep(asked.unwrap_or_else(|| self.pause(tries)));
        }
    }

    /// One GET without repetition, through all redirects. Every request on the way carries only what its own address may see.
    fn follow(&self, url: &str, range: Option<&str>) -> Result<Answer, HubError> {
        let endpoint = || self.config.endpoint.clone();
        let mut at = match Url::parse(url) {
            Ok(at) => at,
            Err(e) => {
                let reason = format!("this is no address ({e}), expected one such as https://huggingface.co");
                return Ok(Answer::Unreachable { host: endpoint(), reason });
            }
        };
        for _ in 0..=MOST_REDIRECTS {
            let (address, authorization) = self.credentials.for_address(&at);
            let mut request = self.agent.request_url("GET", &address);
            // Packed answers have neither the size nor the offsets of the file.
            request = request.set("Accept-Encoding", "identity");
            if let Some(authorization) = &authorization {
                request = request.set("Authorization", authorization);
            }
            if let Some(range) = range {
                request = request.set("Range", range);
            }
            let response = match request.call() {
                Ok(response) => response,
                Err(Error::Status(status, response)) => return Ok(Answer::Refused(status, response)),
                Err(Error::Transport(e)) => {
                    return Ok(Answer::Unreachable { host: self.host(&at), reason: without_address(&e) });
                }
            };
            if !(300..399).contains(&response.status()) {
                return Ok(Answer::Came(response));
            }
            let Some(location) = response.header("Location") else {
                let reason = format!("status {} without an address to go on to", response.status());
                return Err(HubError::Answer { url: url.into(), reason });
            };
            at = match redirected(&at, location) {
                Ok(next) => next,
                Err(reason) => return Ok(Answer::Unreachable { host: self.host(&at), reason }),
            };
        }
        let reason = format!("it redirects more than {MOST_REDIRECTS} times");
        Ok(Answer::Unreachable { host: endpoint(), reason })
    }

    /// Who could not be reached, for messages: the endpoint, or the scheme, host and port that it redirected to.
    fn host(&self, at: &Url) -> String {
        let origin = at.origin();
        match Url::parse(&self.config.endpoint) {
            Ok(endpoint) if endpoint.origin() != origin => origin.ascii_serialization(),
            _ => self.config.endpoint.clone(),
        }
    }

    /// How long to wait after so many failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let doubled = self.config.pause.saturating_mul(1 << failures.saturating_sub(1).min(10));
        doubled.min(self.config.longest_pause)
    }

    fn refused(&self, status: u16, response: &Response, url: &str, about: About<'_>) -> HubError {
        let (repo, token) = (about.repo.to_string(), self.config.token.is_some());
        let code = response.header("X-Error-Code").unwrap_or_default();
        let no_file = |path: &str| HubError::NoFile {
            repo: repo.clone(),
            revision: about.revision.into(),
            path: path.into(),
        };
        match (status, code) {
            (401 | 403, "GatedRepo") => {
                HubError::Gated { page: format!("{}/{repo}", self.config.endpoint), repo, token }
            }
            // To those who may not see it, the hub says of no repository whether it is there.
            (401, "RepoNotFound") | (404, "RepoNotFound") => HubError::NoRepo { repo, token },
            (401 | 403, _) => HubError::Denied { repo, status, token },
            (404, "RevisionNotFound") => HubError::NoRevision { repo, revision: about.revision.into() },
            (404, _) if !about.path.is_empty() => no_file(about.path),
            (404, _) => HubError::NoRepo { repo, token },
            _ => HubError::Answer { url: url.into(), reason: format!("status {status}") },
        }
    }
}

/// What became of one request.
enum Answer {
    /// The answer, after all redirects.
    Came(Response),
    /// A status of 400 or more.
    Refused(u16, Response),
    /// No answer.
    Unreachable { host: String, reason: String },
}

/// Why there was no connection. The address stands in the message already, and a redirect's may hold a signature.
fn without_address(transport: &ureq::Transport) -> String {
    let kind = transport.kind().to_string();
    // The client's message repeats the header, which may be the one with the token.
    if transport.kind() == ErrorKind::BadHeader {
        return kind;
    }
    transport.message().map_or(kind.clone(), |message| format!("{kind}: {message}"))
}
