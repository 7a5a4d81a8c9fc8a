//! The settings of the service, as plain values; reading them from files and flags is the
//! daemon's work.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use mezame_model::DeviceName;

use crate::namespace::NamespaceNames;

/// How the service is set up. Several run side by side on one machine when their directories,
/// namespace, devices and pins differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The ledger, its key and the outbox lie here. Made with mode 0700.
    pub state: PathBuf,
    /// The sockets lie here. Made with mode 0755.
    pub run: PathBuf,
    /// The namespace and its veth.
    pub names: NamespaceNames,
    /// The directory in a BPF file system under which links and maps are pinned.
    pub pins: PathBuf,
    /// The port of the metadata service.
    pub port: u16,
    /// Where metrics are served over TCP, in the host's namespace; the socket in
    /// [`Settings::run`] is there always.
    pub metrics: Option<SocketAddr>,
    /// Threads that serve guests. Each takes about a CPU under full load.
    pub workers: usize,
    /// The shortest time between two writes of the ledger.
    pub ledger_interval: Duration,
    /// How long an ending process waits for requests under way.
    pub drain: Duration,
    /// How long a starting one waits for the control plane before it serves from the ledger.
    pub patience: Duration,
    /// What guests may use up.
    pub limits: Limits,
}

impl Settings {
    /// The socket by which the next process takes over.
    pub fn takeover_socket(&self) -> PathBuf {
        self.run.join("takeover.sock")
    }

    /// The socket by which backups have guests frozen.
    pub fn freeze_socket(&self) -> PathBuf {
        self.run.join("freeze.sock")
    }

    /// The socket that metrics, health and events are served on.
    pub fn metrics_socket(&self) -> PathBuf {
        self.run.join("metadata-server.sock")
    }
}

impl Default for Settings {
    fn default() -> Self {
        let device = |name| match DeviceName::parse(name) {
            Ok(device) => device,
            Err(_) => unreachable!("the default device names are valid"),
        };
        Self {
            state: "/var/lib/mezame".into(),
            run: "/run/mezame".into(),
            names: NamespaceNames {
                namespace: "mezame-metadata".into(),
                veth: device("mezame0"),
                peer: device("mezame1"),
            },
            pins: "/sys/fs/bpf/mezame".into(),
            port: 80,
            metrics: None,
            workers: 1,
            ledger_interval: Duration::from_secs(1),
            drain: Duration::from_secs(10),
            patience: Duration::from_millis(500),
            limits: Limits::default(),
        }
    }
}

/// What one guest, and all of them together, may use up. Each default leaves an honest guest an
/// order of magnitude above what its boot needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The longest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most headers in a request.
    pub headers: usize,
    /// From a request's first byte to the end of its head.
    pub head_time: Duration,
    /// From a request's first byte to the last byte of its reply; watches excepted.
    pub request_time: Duration,
    /// How long a connection may lie idle between requests.
    pub idle_time: Duration,
    /// How long a client may leave a reply untaken.
    pub write_time: Duration,
    /// Open connections of one port.
    pub connections_per_port: u32,
    /// Open connections in all.
    pub connections: u32,
    /// Requests a second of one port, sustained; 0 sets no limit.
    pub requests_per_second: u32,
    /// Requests of one port at once.
    pub request_burst: u32,
    /// Waiting watches of one port.
    pub watches_per_port: u32,
    /// Events of one port that may wait for the control plane, and that it may post at once.
    pub events_per_port: u32,
    /// Events a second of one port, sustained; 0 sets no limit. Each waits for the disk, which
    /// all guests share.
    pub events_per_second: u32,
    /// Of the services beside the metadata service.
    pub link_local: LinkLocalLimits,
}

/// What one guest, and all of them together, may use up of DHCP, DNS, NTP and licence activation. What
/// is beyond a rate is dropped without a word, as on EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkLocalLimits {
    /// DNS queries a second of one port, sustained, over UDP and TCP together; 0 sets no limit.
    /// Each connection counts as one more.
    /// EC2 lets an interface send 1,024 packets a second to all of its link-local services
    /// ("Amazon DNS quotas" in the VPC user guide).
    pub dns_per_second: u32,
    /// DNS queries of one port at once.
    pub dns_burst: u32,
    /// NTP questions a second of one port, sustained; 0 sets no limit.
    pub ntp_per_second: u32,
    /// NTP questions of one port at once: clients ask several times as they start.
    pub ntp_burst: u32,
    /// DHCP messages and router solicitations a second of one port, of both families together,
    /// sustained; 0 sets no limit.
    pub dhcp_per_second: u32,
    /// DHCP messages and router solicitations of one port at once.
    pub dhcp_burst: u32,
    /// Connections for licence activation a second of one port, sustained, and as many to tang; 0
    /// sets no limit. A
    /// guest needs a few in a week, and each leaves a local port of the hypervisor's behind for
    /// a minute (TIME-WAIT, RFC 9293, section 3.6.1), of which there are some 28,000 to one host.
    pub kms_per_second: u32,
    /// Connections for licence activation of one port at once, and as many to tang.
    pub kms_burst: u32,
    /// Datagrams of one port that wait for an upstream. Each holds a socket.
    pub waiting_per_port: u32,
    /// Datagrams that wait for an upstream in all.
    pub waiting: u32,
    /// Open connections of one port, for DNS, licence activation and tang together. Each may hold
    /// a socket besides its own.
    pub streams_per_port: u32,
    /// Open connections in all.
    pub streams: u32,
    /// How long a connection may lie idle between DNS queries (RFC 7766, section 6.2.3).
    pub dns_idle_time: Duration,
    /// How long licence activation, or a connection to tang, may lie idle.
    pub kms_idle_time: Duration,
    /// Bytes that one connection for licence activation or to tang may carry, both ways together.
    pub kms_bytes: u64,
}

impl Default for LinkLocalLimits {
    fn default() -> Self {
        Self {
            dns_per_second: 1024,
            dns_burst: 1024,
            ntp_per_second: 8,
            ntp_burst: 32,
            dhcp_per_second: 32,
            dhcp_burst: 128,
            kms_per_second: 1,
            kms_burst: 8,
            waiting_per_port: 128,
            waiting: 4096,
            streams_per_port: 16,
            streams: 1024,
            dns_idle_time: Duration::from_secs(10),
            kms_idle_time: Duration::from_secs(30),
            kms_bytes: 64 << 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes: 16 << 10,
            headers: 64,
            head_time: Duration::from_secs(10),
            request_time: Duration::from_secs(60),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(20),
            connections_per_port: 64,
            connections: 16_384,
            requests_per_second: 2_000,
            request_burst: 10_000,
            watches_per_port: 16,
            events_per_port: 64,
            events_per_second: 4,
            link_local: LinkLocalLimits::default(),
        }
    }
}
