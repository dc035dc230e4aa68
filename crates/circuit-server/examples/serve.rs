//! Serves a folder of graphs, asks the server how it is, and stops it.
//!
//! `cargo run -p circuit-server --example serve`

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use circuit_server::{Frontend, Limits, Server, ServerConfig};
use std::error::Error;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn main() -> Result<(), Box<dyn Error>> {
    let graphs = tempfile::tempdir()?;
    let limits = Limits {
        upload_bytes: 100 << 20,
        body_bytes: 1 << 20,
        header_time: Duration::from_secs(30),
        body_pause: Duration::from_secs(10),
        body_time: Duration::from_secs(60),
        write_pause: Duration::from_secs(60),
        stop_time: Duration::from_secs(1),
        connections: 100,
        packed_bytes: 1 << 24,
    };
    let config = ServerConfig {
        host: "127.0.0.1".into(),
        port: 0, // any that is free
        graphs: graphs.path().into(),
        features: Vec::new(),
        remote_features: Vec::new(),
        frontend: Frontend::Embedded,
        allowed_hosts: Vec::new(),
        limits,
    };
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let server = Server::bind(config).await?;
        let address = server.address();
        let ask = async {
            let mut client = tokio::net::TcpStream::connect(address).await?;
            let request =
                format!("GET /api/v1/health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            client.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).await?;
            println!("{}", answer.lines().last().unwrap_or_default());
            Ok::<_, std::io::Error>(())
        };
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async { drop(stopped.await) }));
        ask.await?;
        drop(stop);
        running.await?;
        Ok(())
    })
}
