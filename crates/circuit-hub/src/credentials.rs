//! Which requests carry the token: those to the scheme, host and port that it was configured for, and no others.
//!
//! Here: taking a user and password out of an address, comparing origins, and reading the address of a redirect. Not here:
//! sending requests, and where the token comes from.

use std::fmt;
use url::{Origin, Url};

/// What is secret, and the one origin that may see it.
pub(crate) struct Credentials {
    /// Scheme, host and port of the endpoint; `None` where its address cannot be parsed, so that nothing is ever sent.
    origin: Option<Origin>,
    token: Option<String>,
    /// User and password from the endpoint's address.
    user: Option<(String, Option<String>)>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The endpoint's address without user and password, and the credentials that belong to it.
    pub(crate) fn of(endpoint: &str, token: Option<String>) -> (String, Self) {
        let parsed = Url::parse(endpoint).ok();
        let user = parsed.as_ref().filter(|url| !url.username().is_empty() || url.password().is_some());
        let user = user.map(|url| (url.username().to_owned(), url.password().map(str::to_owned)));
        (without_user(endpoint), Self { origin: parsed.map(|url| url.origin()), token, user })
    }

    /// Whether the token can stand in a header. What cannot would be repeated in the client's error message.
    pub(crate) fn is_sendable(&self) -> bool {
        self.token.as_ref().is_none_or(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))
    }

    /// The address to ask, and the `Authorization` header to send there.
    pub(crate) fn for_address(&self, address: &Url) -> (Url, Option<String>) {
        let mut address = address.clone();
        let (mut user, mut password, mut header) = ("", None, None);
        if self.origin.as_ref() == Some(&address.origin()) {
            header = self.token.as_ref().map(|token| format!("Bearer {token}"));
            if let (None, Some((name, word))) = (&header, &self.user) {
                (user, password) = (name, word.as_deref());
            }
        }
        // Only addresses without a host refuse this, and they have no user either.
        let _ = address.set_username(user);
        let _ = address.set_password(password);
        (address, header)
    }
}

/// The address that a redirect leads to, without a user and password that it may name.
///
/// # Errors
/// What is wrong with it, without the address: it may hold a signature.
pub(crate) fn redirected(from: &Url, location: &str) -> Result<Url, String> {
    let mut to =
        from.join(location).map_err(|e| format!("it redirects to an address that cannot be read ({e})"))?;
    if !matches!(to.scheme(), "http" | "https") {
        return Err(format!("it redirects to a {} address, expected http or https", to.scheme()));
    }
    let _ = to.set_username("");
    let _ = to.set_password(None);
    Ok(to)
}

/// An address without `user:password@`, for requests and messages. Text that is no address is treated alike.
pub(crate) fn without_user(address: &str) -> String {
    let start = address.find("://").map_or(0, |at| at + 3);
    let end = address[start..].find(['/', '?', '#', '\\']).map_or(address.len(), |at| start + at);
    match address[start..end].rfind('@') {
        Some(at) => format!("{}{}", &address[..start], &address[start + at + 1..]),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(endpoint: &str, to: &str) -> bool {
        let (_, credentials) = Credentials::of(endpoint, Some("secret".into()));
        let (address, header) = credentials.for_address(&Url::parse(to).unwrap());
        assert!(address.username().is_empty() && address.password().is_none(), "{address}");
        header.inspect(|header| assert_eq!(header, "Bearer secret")).is_some()
    }

    #[test]
    fn the_token_goes_to_the_same_scheme_host_and_port() {
        for (endpoint, to) in [
            ("https://hub.example", "https://hub.example/a/b?c"),
            ("https://hub.example", "https://hub.example:443/a"),
            ("https://hub.example:443", "https://hub.example/a"),
            ("https://Hub.Example", "https://hUB.example/a"),
            ("http://hub.example:80/prefix", "http://hub.example/other"),
            ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/a"),
            ("https://[2001:DB8::1]", "https://[2001:db8::1]:443/a"),
            ("https://me:word@hub.example", "https://hub.example/a"),
            ("https://hub.example", "https://someone@hub.example/a"),
        ] {
            assert!(sent(endpoint, to), "{endpoint} -> {to}");
        }
    }

    #[test]
    fn the_token_goes_nowhere_else() {
        for (endpoint, to) in [
            ("https://hub.example", "http://hub.example/a"),
            ("http://hub.example", "https://hub.example/a"),
            ("https://hub.example", "http://hub.example:443/a"),
            ("https://hub.example", "https://hub.example:8443/a"),
            ("https://hub.example:8443", "https://hub.example/a"),
            ("https://hub.example", "https://cdn.hub.example/a"),
            ("https://hub.example", "https://hub.example.evil.example/a"),
            ("https://hub.example", "https://hub.example@evil.example/a"),
            ("https://hub.example", "https://hub.example./a"),
            ("http://127.0.0.1:80", "http://localhost/a"),
            ("http://[::1]:8080", "http://[::1]:8081/a"),
            ("http://[::1]:8080", "http://127.0.0.1:8080/a"),
            ("hub.example", "https://hub.example/a"),
        ] {
            assert!(!sent(endpoint, to), "{endpoint} -> {to}");
        }
    }

    #[test]
    fn a_user_and_password_are_treated_as_the_token_is() {
        let (endpoint, credentials) = Credentials::of("https://me:word@hub.example/x", None);
        assert_eq!(endpoint, "https://hub.example/x");
        let address = |to: &str| credentials.for_address(&Url::parse(to).unwrap()).0.to_string();
        assert_eq!(address("https://hub.example/x/y"), "https://me:word@hub.example/x/y");
        assert_eq!(address("https://hub.example:8443/x"), "https://hub.example:8443/x");
        assert_eq!(address("https://you:other@cdn.example/x"), "https://cdn.example/x");
        assert!(!format!("{credentials:?}").contains("word"));
    }

    #[test]
    fn redirects_are_read_against_the_address_that_sent_them() {
        let from = Url::parse("https://hub.example:8443/a/b?c").unwrap();
        let to = |location: &str| redirected(&from, location).map(String::from);
        assert_eq!(to("/x"), Ok("https://hub.example:8443/x".into()));
        assert_eq!(to("x"), Ok("https://hub.example:8443/a/x".into()));
        assert_eq!(to("//cdn.example/x"), Ok("https://cdn.example/x".into()));
        assert_eq!(to("HTTPS://You:other@CDN.example:443/x"), Ok("https://cdn.example/x".into()));
        assert!(to("file:///etc/passwd").unwrap_err().contains("file"));
        assert!(to("http://[::1/x?signature=1").is_err_and(|reason| !reason.contains("signature")));
    }

    #[test]
    fn addresses_are_shown_without_a_user() {
        for (address, shown) in [
            ("https://me:w@rd@hub.example/a@b", "https://hub.example/a@b"),
            ("me:word@proxy:3128", "proxy:3128"),
            ("https://hub.example/a@b", "https://hub.example/a@b"),
            ("hub.example", "hub.example"),
        ] {
            assert_eq!(without_user(address), shown);
        }
    }
}
