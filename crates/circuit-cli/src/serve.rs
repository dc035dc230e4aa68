//! `serve`, and what `attribute --server` does at its end: a folder of graphs in the browser.
//!
//! Chooses the server's limits, prints its address on standard output, logs to standard error, and ends it on SIGINT and
//! SIGTERM. Everything else is `circuit-server`. No LibTorch here.

use crate::args::{AttributeArgs, PORT, ServeArgs};
use crate::failure::{Code, Failure};
use circuit_server::{FeatureFolder, Frontend, Limits, Server, ServerConfig, ServerError};
use std::future::Future;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
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
    let config = ServerConfig {
        host: args.host,
        port: args.port,
        graphs: args.graph_file_dir,
        features: args.features_dirs.iter().map(|text| feature_folder(text)).collect(),
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
        let features: Vec<_> = args.features_dirs.iter().map(|text| feature_folder(text)).collect();
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
            frontend: Frontend::Embedded,
            allowed_hosts: Vec::new(),
            limits: limits(),
        };
        Ok(Self { config, verbose: args.verbose, slug: Some(slug.into()) })
    }
}

/// `DIR` or `SCAN=DIR`. A folder whose name has a `=` in it is a folder.
fn feature_folder(text: &str) -> FeatureFolder {
    match text.split_once('=') {
        Some((scan, path)) if !scan.is_empty() && !Path::new(text).exists() => {
            FeatureFolder { scan: Some(scan.into()), path: PathBuf::from(path) }
        }
        _ => FeatureFolder { scan: None, path: text.into() },
    }
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
    fn a_folder_of_records_may_have_a_scan() {
        let folder = |scan: Option<&str>, path: &str| FeatureFolder {
            scan: scan.map(str::to_owned),
            path: path.into(),
        };
        assert_eq!(feature_folder("a/b"), folder(None, "a/b"));
        assert_eq!(feature_folder("acme/toy@v2=a/b"), folder(Some("acme/toy@v2"), "a/b"));
        assert_eq!(feature_folder("x=a=b"), folder(Some("x"), "a=b"));
        assert_eq!(feature_folder("=a"), folder(None, "=a"));
    }
}
