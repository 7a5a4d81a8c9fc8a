//! What stands behind haproxy's unix socket: the same protocol code behind the same HTTP server
//! library as the metadata-server's own listener.
//!
//! It does less than the real listener (no limits, no metrics, one fixed guest), so that the
//! comparison does not suffer from a slow far end. Runs as a process of its own.

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mezame_protocol::{Answer, Version, respond};
use mezame_tests::{
    process::{self, Background},
    wait::{self, SOON},
};
use tokio::net::UnixListener;

use crate::{
    fixture::{Fixture, Foreseeable, PATH, wall_clock},
    load::Target,
    pinned::Cpu,
};

/// The process, and the socket that it serves on.
#[derive(Debug)]
pub struct Upstream {
    _process: Background,
    /// Its socket.
    pub socket: PathBuf,
}

impl Upstream {
    /// Starts it; its socket lies in the folder `home`.
    pub fn start(cpu: Cpu, home: &Path) -> anyhow::Result<Self> {
        let socket = home.join("upstream.sock");
        let mut command = process::command(std::env::current_exe()?);
        command.arg("--upstream").arg(&socket);
        cpu.bind_command(&mut command);
        let mut process =
            Background::start("the upstream", &mut command, &home.join("upstream.log"))?;
        wait::until("the upstream's socket", SOON, || {
            process.ensure_running()?;
            Ok(std::os::unix::net::UnixStream::connect(&socket)?)
        })?;
        Ok(Self { _process: process, socket })
    }

    /// What its guest asks for at an address that leads to it.
    pub fn target(address: SocketAddr) -> anyhow::Result<Target> {
        let fixture = Fixture::read()?;
        let body = fixture.guest.instance.id.as_str().as_bytes().to_vec();
        Ok(Target { address, path: PATH.into(), token: fixture.token(wall_clock())?, body })
    }
}

/// Serves the fixture's guest on a unix socket until the process is ended.
pub fn serve(socket: &Path) -> anyhow::Result<()> {
    let fixture = Arc::new(Fixture::read()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = UnixListener::bind(socket)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let fixture = Arc::clone(&fixture);
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let reply = answer(&fixture, &request);
                    async move { Ok::<_, Infallible>(reply) }
                });
                // A proxy that breaks its connection off ends its own measurement.
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

fn answer(fixture: &Fixture, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let target = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // What the proxy adds names the tenant there and is refused here, where nothing may speak for
    // a guest: so it is taken away, as neutron's agent does.
    let headers = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != "x-forwarded-for" && *name != "x-network-id")
        .map(|(name, value)| (name.as_str(), value.as_bytes()));
    let parsed = mezame_protocol::Request::parse(
        Version::Http11,
        request.method().as_str(),
        target.as_bytes(),
        headers,
    );
    let reply = match parsed {
        Err(refusal) => refusal.response(),
        Ok(parsed) => {
            let context = fixture.context(wall_clock(), &Foreseeable);
            match respond(&parsed, b"", &fixture.guest, &context) {
                Answer::Reply(reply) => reply,
                _ => mezame_protocol::Response::internal(),
            }
        }
    };
    let mut response = Response::builder().status(reply.status.code());
    reply.for_each_header(|name, value| {
        if let Some(headers) = response.headers_mut()
            && let Ok(value) = hyper::header::HeaderValue::from_bytes(value)
        {
            headers.append(name, value);
        }
    });
    response.body(Full::new(reply.body)).unwrap_or_else(|_| Response::new(Full::new(Bytes::new())))
}
