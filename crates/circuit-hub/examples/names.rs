//! Names on the hub taken apart, and what of them is in a cache folder; asks no server.
//!
//! `cargo run -p circuit-hub --example names -- CACHE_FOLDER owner/repo/folder@v1`

use circuit_hub::{Hub, HubConfig, HubName};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let cache = args.next().unwrap_or_else(|| ".".into());
    let name: HubName = args.next().unwrap_or_else(|| "owner/repo/folder@v1".into()).parse()?;
    let mut out = String::new();
    out += &format!("repository {}, folder `{}`, revision {}\n", name.repo, name.folder, name.revision());
    out += &format!("its feature pages go by `{}`\n", name.scan());

    let hub = Hub::new(HubConfig {
        endpoint: "https://huggingface.co".into(),
        cache: cache.into(),
        token: None,
        offline: true,
        proxy: None,
        user_agent: "example".into(),
        retries: 0,
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(60),
        timeout: Duration::from_secs(30),
        parallel: 4,
    })?;
    match hub.snapshot(&name.repo, &name.revision()) {
        Ok(snapshot) => {
            out += &format!("{} files in {}\n", snapshot.files.len(), snapshot.folder().display())
        }
        Err(e) => out += &format!("{e}\n"),
    }
    for repo in hub.cached()? {
        out += &format!("{:>12} bytes  {}\n", repo.size, repo.repo);
    }
    std::io::Write::write_all(&mut std::io::stdout(), out.as_bytes())?;
    Ok(())
}
