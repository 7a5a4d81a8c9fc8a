//! What the services on the link forward to: a resolver, a time server and an echoing host, in a
//! namespace of the test's choice.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use crate::{
    namespace::Namespace,
    process::{self, Background},
    wait::{self, SOON},
};

/// Starts dnsmasq as a resolver that knows these names and no others. `hosts` are lines as in
/// hosts(5); whatever is in `domain` has the address after it, as in `/example.org/192.0.2.1`.
pub fn resolver(
    namespace: &Namespace,
    addresses: &[&str],
    domain: &str,
    hosts: &str,
    directory: &Path,
) -> Result<Background> {
    let (log, file) = (directory.join("resolver.log"), directory.join("resolver.hosts"));
    std::fs::write(&file, hosts).context("writing the resolver's names")?;
    let mut command = namespace.command("dnsmasq");
    command
        .args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"])
        .args(["--user=root", "--log-facility=-", "--log-queries", "--pid-file="])
        .arg("--bind-interfaces")
        .args(addresses.iter().map(|address| format!("--listen-address={address}")))
        .arg(format!("--address={domain}"))
        .arg(format!("--addn-hosts={}", file.display()));
    let mut resolver = Background::start("dnsmasq", &mut command, &log)?;
    wait::until("the resolver", SOON, || {
        resolver.ensure_running()?;
        ensure!(resolver.log().contains("read "), "it has not read its names");
        Ok(())
    })?;
    Ok(resolver)
}

/// A tang server (tangd(8)) with keys of its own in a directory, at an address in a namespace. Its
/// thread ends with the process.
pub fn tang(namespace: &Namespace, address: SocketAddr, keys: &Path) -> Result<()> {
    std::fs::create_dir_all(keys).context("making the directory of tang's keys")?;
    process::succeed(process::command("/usr/libexec/tangd-keygen").arg(keys))?;
    let listener = namespace.run(|| TcpListener::bind(address))?.context("binding tang")?;
    let keys = keys.to_owned();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // It speaks HTTP on its standard streams, as systemd's socket unit starts it.
            let stream = std::os::fd::OwnedFd::from(stream);
            let Ok(input) = stream.try_clone() else { continue };
            let mut tangd = process::command("/usr/libexec/tangd");
            let tangd = tangd.arg(&keys).stdin(input).stdout(stream).spawn();
            if let Ok(mut tangd) = tangd {
                // It ends with the connection.
                std::thread::spawn(move || tangd.wait());
            }
        }
    });
    Ok(())
}

/// A time server of stratum 1 (RFC 5905) that tells this machine's clock, and remembers what it
/// was sent. Its thread ends with the process.
#[derive(Debug, Clone)]
pub struct TimeServer(Arc<Mutex<Vec<Vec<u8>>>>);

impl TimeServer {
    /// Seconds from NTP's era to Unix's.
    const ERA: u64 = 2_208_988_800;

    /// Starts one.
    pub fn start(namespace: &Namespace, address: &str) -> Result<Self> {
        let socket =
            namespace.run(|| UdpSocket::bind(address))?.context("binding a time server")?;
        let server = Self(Arc::default());
        let asked = Arc::clone(&server.0);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut bytes) {
                let question = &bytes[..length];
                asked.lock().unwrap_or_else(PoisonError::into_inner).push(question.to_vec());
                if question.len() >= 48 {
                    // Who asked may have gone.
                    let _ = socket.send_to(&Self::answer(question), from);
                }
            }
        });
        Ok(server)
    }

    /// All datagrams that it was sent.
    pub fn asked(&self) -> Vec<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer(question: &[u8]) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let now = (((now.as_secs() + Self::ERA) << 32) | fraction).to_be_bytes();
        // No leap second, the question's version, mode 4; stratum 1; its poll; precision 2^-20 s.
        let mut answer = vec![(question[0] & 0o70) | 4, 1, question[2], 0xec];
        answer.extend([0; 8]);
        answer.extend(b"LOCL");
        answer.extend(now);
        answer.extend(&question[40..48]);
        answer.extend(now);
        answer.extend(now);
        answer
    }
}

/// A host that sends back what it is sent, and says of each connection that has ended. Its threads
/// end with the process.
#[derive(Debug)]
pub struct Echo {
    ended: std::sync::mpsc::Receiver<()>,
}

impl Echo {
    /// Starts one.
    pub fn start(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind(address))?.context("binding a host")?;
        let (end, ended) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let end = end.clone();
                std::thread::spawn(move || {
                    Self::serve(stream);
                    // The test may look at none.
                    let _ = end.send(());
                });
            }
        });
        Ok(Self { ended })
    }

    /// Waits for the end of a connection.
    pub fn wait_for_end(&self, bound: Duration) -> Result<()> {
        self.ended.recv_timeout(bound).context("waiting for the end of a connection")
    }

    fn serve(mut stream: TcpStream) {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..length]).is_err() {
                return;
            }
        }
    }
}
