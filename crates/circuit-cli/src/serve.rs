//! `serve`, and what `attribute --server` does at its end: a folder of graphs in the browser.
//!
//! Chooses the server's limits, prints its address on standard output, logs to standard error, and ends it on SIGINT and
//! SIGTERM. Everything else is `circuit-server`. No LibTorch here.

use crate::args::{AttributeArgs, PORT, ServeArgs};
use crate::failure::{Code, Failure};
use crate::feature_pages;
use crate::hub::FoundSet;
use circuit_hub::HubName;
use circuit_server::{FeatureFolder, Frontend, Limits, RemoteFeatures, Server, ServerConfig, ServerError};
use std::future::Future;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// File handles to ask the system for: one for each connection, one for each file under way.
const HANDLES: u64 = 1 << 15;

/// What is not for connections: standard streams, libraries, the runtime.
const HANDLES_OF_THE_PROGRAM: u64 = 64;

/// What to serve, how much to log, and what to show first.
pub(crate) struct Plan {
    config: ServerConfig,
    verbose: bool,
    slug: Option<String>,
}

pub(crate) fn run(args: ServeArgs) -> Result<String, Failure> {
    if !args.graph_file_dir.is_dir() {
        let message = format!("{}: no such folder of graphs", args.graph_file_dir.display());
        return Err(Failure::new(Code::Input, message)
            .hint("`circuit-tracer attribute --slug … --graph-file-dir …` makes one"));
    }
    let (features, remote_features) = feature_places(&args.features_dirs, args.offline)?;
    let config = ServerConfig {
        host: args.host,
        port: args.port,
        graphs: args.graph_file_dir,
        features,
        remote_features,
        frontend: args.frontend_dir.map_or(Frontend::Embedded, Frontend::Folder),
        allowed_hosts: args.allow_host,
        limits: limits(),
    };
    serve(Plan { config, verbose: args.verbose, slug: None })?;
    Ok(String::new())
}

impl Plan {
    /// The server of `attribute --server`: checks now what the end of a long run would find out too late.
    pub(crate) fn after_attribution(
        args: &AttributeArgs,
        folder: &Path,
        slug: &str,
    ) -> Result<Self, Failure> {
        let host = "127.0.0.1".to_owned();
        let (features, remote_features) = feature_places(&args.features_dirs, args.model.offline)?;
        if let Some(missing) = features.iter().find(|folder| !folder.path.is_dir()) {
            let message = format!("{}: no such folder of feature records", missing.path.display());
            return Err(Failure::new(Code::Input, message));
        }
        let port = args.port.unwrap_or(PORT);
        TcpListener::bind((host.as_str(), port))
            .map_err(|source| failure(ServerError::Listen { host: host.clone(), port, source }))?;
        let config = ServerConfig {
            host,
            port,
            graphs: folder.into(),
            features,
            remote_features,
            frontend: Frontend::Embedded,
            allowed_hosts: Vec::new(),
            limits: limits(),
        };
        Ok(Self { config, verbose: args.verbose, slug: Some(slug.into()) })
    }

    /// Shows the pages of the set that was traced with, too: whoever names a set on the hub may be shown what belongs to it.
    pub(crate) fn show_pages_of(&mut self, set: &FoundSet, offline: bool) -> Result<(), Failure> {
        self.config.remote_features.extend(feature_pages::of_set(set, offline)?);
        Ok(())
    }
}

/// A place of feature records.
#[derive(Debug, PartialEq, Eq)]
enum Records {
    Folder(FeatureFolder),
    /// A set on the hub, and what graphs call it.
    Hub(HubName, Option<String>),
}

/// `DIR`, `NAME`, `SCAN=DIR` or `SCAN=NAME`. What exists is a folder, even with a `=` in its name.
fn records(text: &str) -> Records {
    let (scan, place) = match text.split_once('=') {
        Some((scan, place)) if !scan.is_empty() && !Path::new(text).exists() => {
            (Some(scan.to_owned()), place)
        }
        _ => (None, text),
    };
    match place.parse() {
        Ok(name) if !Path::new(place).exists() => Records::Hub(name, scan),
        _ => Records::Folder(FeatureFolder { scan, path: place.into() }),
    }
}

fn feature_places(
    texts: &[String],
    offline: bool,
) -> Result<(Vec<FeatureFolder>, Vec<RemoteFeatures>), Failure> {
    let (mut folders, mut remote) = (Vec::new(), Vec::new());
    for text in texts {
        match records(text) {
            Records::Folder(folder) => folders.push(folder),
            Records::Hub(name, scan) => remote.push(feature_pages::of_name(name, scan.as_deref(), offline)?),
        }
    }
    Ok((folders, remote))
}

fn limits() -> Limits {
    let handles = rlimit::increase_nofile_limit(HANDLES).unwrap_or(1024);
    let connections = handles.saturating_sub(HANDLES_OF_THE_PROGRAM) / 2;
    Limits {
        // Neuronpedia takes 100 MiB; our own graphs may be larger.
        upload_bytes: 512 << 20,
        body_bytes: 4 << 20,
        header_time: Duration::from_secs(30),
        body_pause: Duration::from_secs(15),
        body_time: Duration::from_secs(300),
        write_pause: Duration::from_secs(60),
        stop_time: Duration::from_secs(10),
        connections: usize::try_from(connections).unwrap_or(1).max(1),
        packed_bytes: 128 << 20,
    }
}

/// Serves until a signal comes.
pub(crate) fn serve(plan: Plan) -> Result<(), Failure> {
    let level = if plan.verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    // A second subscriber cannot be set; nothing in this program sets a first.
    let _ =
        tracing_subscriber::fmt().with_writer(io::stderr).with_max_level(level).with_target(false).try_init();
    let other = |e: io::Error| Failure::new(Code::Other, format!("the server cannot start: {e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(other)?;
    runtime.block_on(async {
        let stop = stopped().map_err(other)?;
        let server = Server::bind(plan.config).await.map_err(failure)?;
        let address = server.address();
        if !address.ip().is_loopback() {
            tracing::warn!(
                "{address} can be reached from the network: whoever can may read and change the graphs"
            );
        }
        let page = plan.slug.map(|slug| format!("?slug={slug}")).unwrap_or_default();
        // Whoever waits for this line may have gone away; the server is there all the same.
        let mut out = io::stdout();
        let _ = writeln!(out, "http://{address}/{page}").and_then(|()| out.flush());
        server.run(stop).await;
        Ok(())
    })
    // Here the runtime is dropped, which waits for what is being written.
}

/// Ready at the first SIGINT or SIGTERM. A second one ends the program at once, as it would have without us.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            circuit_format::remove_unfinished();
            std::process::exit(130);
        });
    })
}

fn failure(error: ServerError) -> Failure {
    match &error {
        ServerError::Listen { host, port, source } if source.kind() == io::ErrorKind::AddrInUse => {
            Failure::new(Code::Other, format!("port {port} of {host} is taken by another program"))
                .hint("choose another with --port; --port 0 takes any that is free")
        }
        ServerError::Listen { .. } => Failure::new(Code::Usage, error.to_string()),
        _ => Failure::new(Code::Input, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_of_records_may_have_a_scan() {
        let folder = |scan: Option<&str>, path: &str| {
            Records::Folder(FeatureFolder { scan: scan.map(str::to_owned), path: path.into() })
        };
        let hub =
            |scan: Option<&str>, name: &str| Records::Hub(name.parse().unwrap(), scan.map(str::to_owned));
        assert_eq!(records("./a/b"), folder(None, "./a/b"));
        assert_eq!(records("acme/toy@v2=/a/b"), folder(Some("acme/toy@v2"), "/a/b"));
        assert_eq!(records("x=/a=b"), folder(Some("x"), "/a=b"));
        assert_eq!(records("=a"), folder(None, "=a"));
        assert_eq!(records("src"), folder(None, "src"));
        assert_eq!(records("acme/toy@v2"), hub(None, "acme/toy@v2"));
        assert_eq!(records("my/scan=acme/toy/sub"), hub(Some("my/scan"), "acme/toy/sub"));
    }
}
