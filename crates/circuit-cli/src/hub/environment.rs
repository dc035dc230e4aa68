//! The variables by which every program is told about the hub, with Python's meanings and defaults.

use crate::failure::Failure;
use circuit_hub::HubConfig;
use std::env::var;
use std::path::PathBuf;
use std::time::Duration;

const ENDPOINT: &str = "https://huggingface.co";

/// The hub that the environment describes.
pub(super) fn config(offline: bool) -> Result<HubConfig, Failure> {
    let said = |key: &str| var(key).ok().filter(|value| !value.trim().is_empty());
    let home = said("HF_HOME").map(tilde).or_else(|| Some(user_cache()?.join("huggingface")));
    let home = home.ok_or_else(|| {
        Failure::usage("there is no home directory for the hub's cache").hint("set HF_HOME to a folder")
    })?;
    let cache = said("HF_HUB_CACHE").or_else(|| said("HUGGINGFACE_HUB_CACHE")).map(tilde);
    let yes = |key: &str| said(key).is_some_and(|v| is_yes(&v));
    let token_file = said("HF_TOKEN_PATH").map_or_else(|| home.join("token"), tilde);
    let token = said("HF_TOKEN").or_else(|| said("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
        let text = std::fs::read_to_string(token_file).ok()?;
        (!yes("HF_HUB_DISABLE_IMPLICIT_TOKEN")).then_some(text)
    });
    let endpoint = said("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into());
    let own: &[&str] = if endpoint.to_ascii_lowercase().starts_with("https:") {
        &["HTTPS_PROXY", "https_proxy"]
    } else {
        &["http_proxy"]
    };
    let proxies = own.iter().chain(&["ALL_PROXY", "all_proxy"]);
    let without = said("NO_PROXY").or_else(|| said("no_proxy")).unwrap_or_default();
    let proxy = proxies.into_iter().find_map(|key| said(key)).filter(|_| !is_exempt(&endpoint, &without));
    Ok(HubConfig {
        cache: cache.unwrap_or_else(|| home.join("hub")),
        endpoint,
        token: token
            .map(|token| token.split_whitespace().collect::<String>())
            .filter(|token| !token.is_empty()),
        offline: offline || yes("HF_HUB_OFFLINE") || yes("TRANSFORMERS_OFFLINE"),
        proxy,
        user_agent: format!("circuit-tracer/{}", env!("CARGO_PKG_VERSION")),
        retries: 5,
        pause: Duration::from_millis(500),
        longest_pause: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        parallel: 4,
    })
}

/// Where programs of this user keep what can be had again.
pub(crate) fn user_cache() -> Option<PathBuf> {
    let set = |key: &str| std::env::var_os(key).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))
}

fn tilde(path: String) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.into(),
    }
}

/// What Python takes for yes.
fn is_yes(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.trim().to_ascii_lowercase().as_str())
}

/// Whether a host is on the list of those that no proxy is used for.
fn is_exempt(endpoint: &str, list: &str) -> bool {
    let authority = endpoint.split("://").nth(1).unwrap_or(endpoint).split(['/', '?', '#']).next();
    let authority = authority.unwrap_or_default().rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        // The colons of an IPv6 address are its own.
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default().to_ascii_lowercase();
    let entries = list.split(',').map(|entry| entry.trim().trim_start_matches('.').to_ascii_lowercase());
    entries.filter(|entry| !entry.is_empty()).any(|entry| {
        entry == "*"
            || host == entry.trim_matches(['[', ']'])
            || host.strip_suffix(entry.as_str()).is_some_and(|before| before.ends_with('.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_yes_and_hosts_without_a_proxy() {
        assert!(is_yes("1") && is_yes("TRUE") && is_yes("On") && !is_yes("0") && !is_yes("no"));
        let exempt = |list| is_exempt("http://hub.example.org:80/x", list);
        assert!(
            exempt("example.org") && exempt("a, .example.org") && exempt("*") && exempt("hub.example.org")
        );
        assert!(
            is_exempt("http://me:word@[::1]:80/x", "::1")
                && is_exempt("http://me@Hub.example/", "hub.Example")
        );
        assert!(!exempt("") && !exempt("ample.org") && !exempt("other.org"));
    }
}
