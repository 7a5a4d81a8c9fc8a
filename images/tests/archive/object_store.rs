//! A real object store on loopback, for tests: SeaweedFS with its S3 gateway, on ports and in a
//! folder of its own, killed by its id when it is dropped.
//!
//! The set-up puts the program into the cache (`cargo xtask setup --for test`). It is a server that
//! people run in production, and knows conditional writes; moto and s3s-fs are made for tests,
//! and their authors promise nothing of writers at the same moment.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusty_s3::{Bucket, S3Action, UrlStyle, actions::CreateBucket};

pub(crate) const KEY: &str = "key-of-tests";
pub(crate) const SECRET: &str = "secret-of-tests";
pub(crate) const BUCKET: &str = "archives";
pub(crate) const REGION: &str = "us-east-1";

/// A server that is ready, with an empty bucket.
pub(crate) struct ObjectStore {
    server: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl ObjectStore {
    /// Starts one. Somebody may take a port before the server has it; then others are drawn.
    pub(crate) fn start() -> Self {
        for _ in 0..5 {
            if let Some(store) = Self::try_start() {
                return store;
            }
        }
        panic!("SeaweedFS did not start, five times");
    }

    fn try_start() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path();
        std::fs::create_dir(place.join("data")).unwrap();
        let identity = format!(
            r#"{{"identities": [{{"name": "tests", "actions": ["Admin", "Read", "Write", "List"],
                "credentials": [{{"accessKey": "{KEY}", "secretKey": "{SECRET}"}}]}}]}}"#
        );
        std::fs::write(place.join("s3.json"), identity).unwrap();
        let ports = free_ports();
        // So that it ends with the test, too, where that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program());
        command.current_dir(place).env("HOME", place).args([
            "server",
            "-dir=data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            // It would tell its makers about itself.
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=200",
            "-volume.minFreeSpace=1",
            "-filer",
            "-filer.localSocket=filer.sock",
            "-s3",
            "-s3.config=s3.json",
            "-s3.localSocket=s3.sock",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
        ]);
        let names = ["master.port", "volume.port", "filer.port", "s3.port"];
        for (name, pair) in names.iter().zip(ports.chunks(2)) {
            command.arg(format!("-{name}={}", pair[0])).arg(format!("-{name}.grpc={}", pair[1]));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = command.spawn().unwrap();
        let port = ports[6];
        let begin = Instant::now();
        while !has_bucket(port) {
            if server.try_wait().unwrap().is_some() || begin.elapsed() > Duration::from_secs(60) {
                let _ = server.kill();
                let _ = server.wait();
                return None;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Some(Self { server, port, _folder: folder })
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for ObjectStore {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn program() -> PathBuf {
    let cache = std::env::var_os("MEZAME_CACHE").unwrap_or_else(|| "/var/cache/mezame".into());
    let program = PathBuf::from(cache).join("object-store/bin/weed");
    assert!(
        program.exists(),
        "{} is not there; `cargo xtask setup --for test` makes it",
        program.display()
    );
    program
}

/// Eight ports that nobody has at this moment.
fn free_ports() -> Vec<u16> {
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listeners: Vec<TcpListener> = (0..8).map(|_| free()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Makes the bucket; true where it is there afterwards.
fn has_bucket(port: u16) -> bool {
    let endpoint = format!("http://127.0.0.1:{port}").parse().unwrap();
    let bucket = Bucket::new(endpoint, UrlStyle::Path, BUCKET, REGION).unwrap();
    let credentials = rusty_s3::Credentials::new(KEY, SECRET);
    let url = CreateBucket::new(&bucket, &credentials).sign(Duration::from_secs(60));
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let target = format!("{}?{}", url.path(), url.query().unwrap());
        write!(
            stream,
            "PUT {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\
             Connection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| {
        answer.starts_with("HTTP/1.1 200") || answer.contains("BucketAlreadyOwnedByYou")
    })
}
