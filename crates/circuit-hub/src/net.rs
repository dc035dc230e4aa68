//! Asking the hub: one request, tried again within bounds, its refusals turned into errors.
//!
//! The token goes to the endpoint's host and to no other that it redirects to. Not here: what is done with the bytes.

use crate::{Hub, HubConfig, HubError, RepoId};
use std::time::Duration;
use ureq::{Agent, AgentBuilder, Error, RedirectAuthHeaders, Response};

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
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .user_agent(&config.user_agent);
    if let Some(proxy) = &config.proxy {
        let proxy = ureq::Proxy::new(proxy)
            .map_err(|e| HubError::Setup { reason: format!("the proxy `{proxy}`: {e}") })?;
        builder = builder.proxy(proxy);
    }
    Ok(builder.build())
}

impl Hub {
    /// One GET, tried again while the hub is busy or cannot be reached. `range` is the value of a header.
    pub(crate) fn get(&self, url: &str, range: Option<&str>, about: About<'_>) -> Result<Response, HubError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self.agent.get(url);
            // Packed answers have neither the size nor the offsets of the file.
            request = request.set("Accept-Encoding", "identity");
            if let Some(token) = &self.config.token {
                request = request.set("Authorization", &format!("Bearer {token}"));
            }
            if let Some(range) = range {
                request = request.set("Range", range);
            }
            let failed = match request.call() {
                Ok(response) => return Ok(response),
                Err(Error::Status(status @ (429 | 500 | 502 | 503 | 504), response)) => {
                    let wait = response.header("Retry-After").and_then(|text| text.trim().parse().ok());
                    HubError::Busy { url: url.into(), status, tries, wait }
                }
                Err(Error::Status(status, response)) => {
                    return Err(self.refused(status, &response, url, about));
                }
                Err(Error::Transport(e)) => {
                    HubError::Unreachable { host: self.config.endpoint.clone(), reason: without_address(&e) }
                }
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

/// Why there was no connection. The address stands in the message already, and a redirect's may hold a signature.
fn without_address(transport: &ureq::Transport) -> String {
    let kind = transport.kind().to_string();
    transport.message().map_or(kind.clone(), |message| format!("{kind}: {message}"))
}
