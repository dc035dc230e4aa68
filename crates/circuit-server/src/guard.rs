//! Who may ask: the names by which this server may be called, and from which pages it may be changed.
//!
//! A page of another site must not read or change local graphs. A name in `Host` that is not ours may be a name of that
//! site which it lets point to this machine (DNS rebinding), so only known names are served. `Origin` says which page sent
//! a request: a change must come from our own, or from no page at all. Addresses in digits cannot be rebound.

use crate::app::App;
use crate::error::ApiError;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// No address but our own, no inline script, and frames only in our own pages and those of notebooks on this machine.
/// Inline style is allowed because the page places things by it.
pub(crate) const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data:; \
    style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'self' http://localhost:* http://127.0.0.1:*";

/// The names that the server answers to.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    names: Vec<String>,
    any_address: bool,
}

impl Hosts {
    /// `names` beside those of the loopback; with `any_address`, every address in digits as well.
    pub(crate) fn new(names: impl IntoIterator<Item = String>, any_address: bool) -> Self {
        Self { names: names.into_iter().map(|name| name.to_ascii_lowercase()).collect(), any_address }
    }

    fn allow(&self, authority: &Authority) -> bool {
        // A name before `@` means to pass as the host for a careless reader.
        if authority.as_str().contains('@') {
            return false;
        }
        let host = authority.host().to_ascii_lowercase();
        let host = host.strip_suffix('.').unwrap_or(&host);
        let digits = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match digits {
            Ok(address) => {
                address.is_loopback() || self.any_address || self.names.contains(&address.to_string())
            }
            Err(_) => host == "localhost" || self.names.iter().any(|name| name == host),
        }
    }
}

/// Refuses what must not be answered, and adds to every answer what browsers should know.
pub(crate) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = match check(&app.hosts, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let (status, time) = (response.status().as_u16(), start.elapsed());
    if method == Method::GET || method == Method::HEAD || method == Method::OPTIONS {
        tracing::debug!("{method} {} {status} {time:.0?}", uri.path());
    } else {
        tracing::info!("{method} {} {status} {time:.0?}", uri.path());
    }
    response
}

fn check(hosts: &Hosts, request: &Request) -> Result<(), ApiError> {
    let headers = request.headers();
    let host = only(headers, &header::HOST)?;
    let host: Option<Authority> = host.map(|text| text.parse()).transpose().map_err(|_| bad_host())?;
    // A request to a proxy names the host in its first line as well.
    for authority in [request.uri().authority(), host.as_ref()].into_iter().flatten() {
        if !hosts.allow(authority) {
            let name = authority.host();
            let message = format!("this server does not answer to the name `{name}`");
            return Err(ApiError::forbidden("foreign_host", message));
        }
    }
    let own = request.uri().authority().or(host.as_ref()).ok_or_else(bad_host)?;
    if matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let foreign =
        || ApiError::forbidden("foreign_origin", "a page of another origin may not change anything here");
    if let Some(origin) = only(headers, &header::ORIGIN)? {
        let sender = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let sender: Option<Authority> = sender.and_then(|text| text.parse().ok());
        if !sender.is_some_and(|sender| same(&sender, own)) {
            return Err(foreign());
        }
    }
    // Browsers say it themselves, too; `none` is the user, typing an address.
    match headers.get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(foreign()),
    }
}

/// The same host and port; 80 need not be said.
fn same(a: &Authority, b: &Authority) -> bool {
    let port = |authority: &Authority| authority.port_u16().unwrap_or(80);
    a.host().eq_ignore_ascii_case(b.host()) && port(a) == port(b)
}

fn bad_host() -> ApiError {
    ApiError::bad_request("the header Host is missing or no host")
}

/// A header that must not be there twice.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    let unclear = || ApiError::bad_request(format!("the header {name} is there twice or no text"));
    if second.is_some() {
        return Err(unclear());
    }
    first.map(|value| value.to_str().map_err(|_| unclear())).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn ask(hosts: &Hosts, method: Method, uri: &str, headers: &[(&str, &str)]) -> u16 {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        match check(hosts, &request.body(Body::empty()).unwrap()) {
            Ok(()) => 200,
            Err(e) => e.into_response().status().as_u16(),
        }
    }

    #[test]
    fn names_that_are_ours() {
        let loopback = Hosts::new([], false);
        let named = Hosts::new(["Graphs.example".into(), "10.0.0.1".into()], false);
        let open = Hosts::new([], true);
        let get = |hosts: &Hosts, host: &str| ask(hosts, Method::GET, "/", &[("host", host)]);
        for host in ["localhost", "LOCALHOST:8041", "localhost.", "127.0.0.1:1", "127.9.9.9", "[::1]:8041"] {
            assert_eq!(get(&loopback, host), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.1",
            "localhost@evil.example",
            "evil@localhost",
            "[::2]",
            "0.0.0.0",
        ] {
            assert_eq!(get(&loopback, host), 403, "{host}");
        }
        assert_eq!(
            (get(&named, "graphs.EXAMPLE:80"), get(&named, "10.0.0.1"), get(&named, "10.0.0.2")),
            (200, 200, 403)
        );
        assert_eq!((get(&open, "10.0.0.2:80"), get(&open, "evil.example")), (200, 403));
        for host in ["", "a b", "a/b", "\""] {
            assert!([400, 403].contains(&get(&loopback, host)), "{host}");
        }
        assert_eq!(ask(&loopback, Method::GET, "/", &[]), 400);
        assert_eq!(ask(&loopback, Method::GET, "/", &[("host", "localhost"), ("host", "localhost")]), 400);
        let proxied = ask(&loopback, Method::GET, "http://evil.example/", &[("host", "localhost")]);
        assert_eq!(proxied, 403);
    }

    #[test]
    fn changes_come_from_our_own_page() {
        let hosts = Hosts::new([], false);
        let put = |headers: &[(&str, &str)]| {
            ask(&hosts, Method::PUT, "/", &[&[("host", "localhost:8041")], headers].concat())
        };
        assert_eq!(put(&[]), 200);
        for origin in ["http://localhost:8041", "http://LOCALHOST:8041", "https://localhost:8041"] {
            assert_eq!(put(&[("origin", origin)]), 200, "{origin}");
        }
        for origin in [
            "http://localhost",
            "http://localhost:8042",
            "http://127.0.0.1:8041",
            "null",
            "",
            "http://evil.example",
            "localhost:8041",
        ] {
            assert_eq!(put(&[("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(put(&[("sec-fetch-site", "same-origin")]), 200);
        assert_eq!(put(&[("sec-fetch-site", "same-site")]), 403);
        assert_eq!(put(&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8041")]), 403);
        assert_eq!(
            ask(&hosts, Method::GET, "/", &[("host", "localhost"), ("origin", "http://evil.example")]),
            200
        );
    }
}
