//! The settings: defaults, under the file, under the environment, under flags.
//!
//! Each setting is written once, below, and has the same name in all three places: `ledger-interval`
//! is `--ledger-interval`, `MEZAME_LEDGER_INTERVAL` and `ledger_interval:` in the file.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use mezame_model::DeviceName;
use mezame_provisioner::TlsSettings;
use mezame_server::settings::{Limits, LinkLocalLimits, Settings};
use serde::Deserialize;

use crate::span::Span;

/// Where the settings are looked for when no flag names a file.
const DEFAULT_FILE: &str = "/etc/mezame/metadata-server.yaml";

/// Serves instance metadata to the guests of this hypervisor at 169.254.169.254.
#[derive(Debug, Parser)]
#[command(name = "metadata-server", version, after_help = AFTER_HELP)]
pub(crate) struct Command {
    /// The settings file [default: /etc/mezame/metadata-server.yaml, if it is there].
    #[arg(long, env = "MEZAME_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the settings and end.
    #[arg(long)]
    pub(crate) check: bool,
    /// Take namespace, veth, programs, maps and pins away and end. The state directory stays.
    #[arg(long, conflicts_with = "check")]
    pub(crate) remove: bool,
    #[command(flatten)]
    flags: Partial,
}

const AFTER_HELP: &str = "\
Examples:
  metadata-server --standalone
      Everything on one machine: the control plane runs in this process.
  metadata-server --config /etc/mezame/metadata-server.yaml --check
      Check a settings file.
  kill -HUP $(pidof metadata-server)
      Upgrade: start the program's file anew, which takes over without losing a request.
      Starting a second metadata-server with the same --run-dir does the same.";

macro_rules! settings {
    ($($(#[doc = $doc:literal])+
       $field:ident: $type:ty, $env:literal, $value:literal $(, $alias:literal)?;)*) => {
        /// The settings that one source gives; what it does not give is left to the next.
        #[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct Partial {
            /// Run the control plane in this process.
            #[arg(long, env = "MEZAME_STANDALONE", num_args = 0..=1, require_equals = true,
                  default_missing_value = "true", value_name = "BOOL")]
            standalone: Option<bool>,
            $($(#[doc = $doc])+
            #[arg(long, env = $env, value_name = $value $(, alias = $alias)?)]
            $field: Option<$type>,)*
            /// The control plane's own settings, all of them; only in the file.
            #[arg(skip)]
            provisioner: Option<mezame_provisioner::Settings>,
        }

        impl Partial {
            /// What they are called in the file.
            #[cfg(test)]
            const NAMES: &[&str] =
                &["standalone", $(stringify!($field),)* "provisioner"];

            /// These, and where they give none, the others.
            fn over(self, other: Self) -> Self {
                Self {
                    standalone: self.standalone.or(other.standalone),
                    $($field: self.$field.or(other.$field),)*
                    provisioner: self.provisioner.or(other.provisioner),
                }
            }
        }
    };
}

settings! {
    /// Where ledger, keys and the control plane's store lie [default: /var/lib/mezame].
    state_dir: PathBuf, "MEZAME_STATE_DIR", "DIR", "state";
    /// Where sockets lie [default: /run/mezame].
    run_dir: PathBuf, "MEZAME_RUN_DIR", "DIR", "run";
    /// The network namespace of the listener [default: mezame-metadata].
    namespace: String, "MEZAME_NAMESPACE", "NAME";
    /// The veth into it, on this side [default: mezame0].
    veth: DeviceName, "MEZAME_VETH", "NAME";
    /// The veth's end inside [default: the veth's name and "p", or mezame1].
    veth_peer: DeviceName, "MEZAME_VETH_PEER", "NAME";
    /// Where programs and maps are pinned [default: /sys/fs/bpf/mezame].
    pins: PathBuf, "MEZAME_PINS", "DIR";
    /// The port inside the namespace [default: 80]; guests always use 80.
    port: u16, "MEZAME_PORT", "PORT";
    /// Serve metrics over TCP too, such as 127.0.0.1:9464 [default: unix socket only].
    metrics: SocketAddr, "MEZAME_METRICS", "ADDRESS";
    /// Threads that serve guests [default: 1].
    workers: usize, "MEZAME_WORKERS", "N";
    /// The shortest time between two writes of the ledger [default: 1s].
    ledger_interval: Span, "MEZAME_LEDGER_INTERVAL", "TIME";
    /// How long an ending process waits for requests under way [default: 10s].
    drain: Span, "MEZAME_DRAIN", "TIME";
    /// How long a start waits for the control plane before it serves the ledger [default: 500ms].
    patience: Span, "MEZAME_PATIENCE", "TIME";
    /// The log's form, text or json [default: text].
    log_format: crate::logging::Format, "MEZAME_LOG_FORMAT", "FORMAT";
    /// The log's level, as in RUST_LOG [default: info].
    log_level: String, "MEZAME_LOG_LEVEL", "FILTER";

    /// The longest head of a request, in bytes [default: 16384].
    head_bytes: usize, "MEZAME_HEAD_BYTES", "BYTES";
    /// The most headers of a request [default: 64].
    headers: usize, "MEZAME_HEADERS", "N";
    /// From a request's first byte to the end of its head [default: 10s].
    head_time: Span, "MEZAME_HEAD_TIME", "TIME";
    /// From a request's first byte to its reply's last, watches excepted [default: 60s].
    request_time: Span, "MEZAME_REQUEST_TIME", "TIME";
    /// How long a connection may lie idle [default: 75s].
    idle_time: Span, "MEZAME_IDLE_TIME", "TIME";
    /// How long a guest may leave a reply untaken [default: 20s].
    write_time: Span, "MEZAME_WRITE_TIME", "TIME";
    /// Open connections of one port [default: 64].
    connections_per_port: u32, "MEZAME_CONNECTIONS_PER_PORT", "N";
    /// Open connections in all [default: 16384].
    connections: u32, "MEZAME_CONNECTIONS", "N";
    /// Requests a second of one port, 0 for no limit [default: 2000].
    requests_per_second: u32, "MEZAME_REQUESTS_PER_SECOND", "N";
    /// Requests of one port at once [default: 10000].
    request_burst: u32, "MEZAME_REQUEST_BURST", "N";
    /// Waiting watches of one port [default: 16].
    watches_per_port: u32, "MEZAME_WATCHES_PER_PORT", "N";
    /// Events of one port that may wait for the control plane [default: 64].
    events_per_port: u32, "MEZAME_EVENTS_PER_PORT", "N";
    /// Events a second of one port, 0 for no limit [default: 4].
    events_per_second: u32, "MEZAME_EVENTS_PER_SECOND", "N";
    /// DHCP messages and router solicitations a second of one port, 0 for no limit [default: 32].
    dhcp_per_second: u32, "MEZAME_DHCP_PER_SECOND", "N";
    /// DHCP messages and router solicitations of one port at once [default: 128].
    dhcp_burst: u32, "MEZAME_DHCP_BURST", "N";
    /// DNS queries a second of one port, 0 for no limit [default: 1024].
    dns_per_second: u32, "MEZAME_DNS_PER_SECOND", "N";
    /// DNS queries of one port at once [default: 1024].
    dns_burst: u32, "MEZAME_DNS_BURST", "N";
    /// NTP questions a second of one port, 0 for no limit [default: 8].
    ntp_per_second: u32, "MEZAME_NTP_PER_SECOND", "N";
    /// NTP questions of one port at once [default: 32].
    ntp_burst: u32, "MEZAME_NTP_BURST", "N";
    /// Connections for licence activation a second of one port, 0 for no limit [default: 1].
    kms_per_second: u32, "MEZAME_KMS_PER_SECOND", "N";
    /// Connections for licence activation of one port at once [default: 8].
    kms_burst: u32, "MEZAME_KMS_BURST", "N";
    /// Datagrams of one port that wait for an upstream [default: 128].
    forwarded_per_port: u32, "MEZAME_FORWARDED_PER_PORT", "N";
    /// Datagrams that wait for an upstream in all [default: 4096].
    forwarded: u32, "MEZAME_FORWARDED", "N";
    /// Connections of one port for DNS and licence activation [default: 16].
    link_local_connections_per_port: u32, "MEZAME_LINK_LOCAL_CONNECTIONS_PER_PORT", "N";
    /// Connections for DNS and licence activation in all [default: 1024].
    link_local_connections: u32, "MEZAME_LINK_LOCAL_CONNECTIONS", "N";

    /// Standalone: the operators' socket [default: provisioner.sock in --run-dir].
    api_socket: PathBuf, "MEZAME_API_SOCKET", "FILE";
    /// Standalone: serve operators over TLS too, such as 0.0.0.0:8443.
    api_tls: SocketAddr, "MEZAME_API_TLS", "ADDRESS";
    /// Standalone: the file of bearer tokens' digests for TLS.
    api_tokens: PathBuf, "MEZAME_API_TOKENS", "FILE";
    /// Standalone: the directory of the image archive, which `mezame image archive create` makes.
    image_archive: PathBuf, "MEZAME_IMAGE_ARCHIVE", "DIR";
    /// Standalone: a directory for volumes, with the pool "default", which `mezame volume pool create`
    /// makes.
    volumes: PathBuf, "MEZAME_VOLUMES", "DIR";
    /// Standalone: the region that guests are told.
    region: String, "MEZAME_REGION", "NAME";
    /// Standalone: the DNS suffix that guests are told.
    domain: String, "MEZAME_DOMAIN", "NAME";
}

/// All settings, complete.
#[derive(Debug)]
pub(crate) struct Configured {
    /// The service's.
    pub(crate) service: Settings,
    /// The control plane's, if it runs in this process.
    pub(crate) provisioner: Option<mezame_provisioner::Settings>,
    /// The log's.
    pub(crate) log: crate::logging::LogSettings,
}

impl Command {
    /// Reads the file and puts everything together.
    pub(crate) fn configure(&self) -> anyhow::Result<Configured> {
        let from_file = match &self.config {
            Some(path) => read(path)?,
            None if Path::new(DEFAULT_FILE).exists() => read(Path::new(DEFAULT_FILE))?,
            None => Partial::default(),
        };
        self.flags.clone().over(from_file).complete()
    }
}

fn read(path: &Path) -> anyhow::Result<Partial> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("reading the settings file {}", path.display()))?;
    parse(&text).with_context(|| format!("the settings file {} is not valid", path.display()))
}

fn parse(text: &str) -> anyhow::Result<Partial> {
    // A file of comments only is an empty one.
    let settings: Option<Partial> =
        serde_path_to_error::deserialize(serde_yaml::Deserializer::from_str(text))?;
    let mut settings = settings.unwrap_or_default();
    if let Some(control) = &mut settings.provisioner {
        unplace(control, &serde_yaml::from_str(text)?);
    }
    Ok(settings)
}

/// Where the control plane's section does not say where its state and its socket lie, they have an empty
/// path until it is known where the service's do: its own defaults may be another site's.
fn unplace(control: &mut mezame_provisioner::Settings, file: &serde_yaml::Value) {
    let is_placed = |key: &str| file["provisioner"].get(key).is_some();
    if !is_placed("state_dir") {
        control.state_dir = PathBuf::new();
    }
    if !is_placed("socket") {
        control.socket = Some(PathBuf::new());
    }
}

impl Partial {
    fn complete(self) -> anyhow::Result<Configured> {
        let service = self.service()?;
        let provisioner = self.standalone.unwrap_or(false).then(|| self.provisioner(&service));
        if provisioner.is_none() && self.provisioner.is_some() {
            bail!("the settings have a provisioner section, but standalone is not set");
        }
        let log = crate::logging::LogSettings {
            format: self.log_format.unwrap_or_default(),
            filter: self
                .log_level
                .or_else(|| std::env::var("RUST_LOG").ok())
                .unwrap_or_else(|| "info".into()),
        };
        Ok(Configured { service, provisioner, log })
    }

    fn service(&self) -> anyhow::Result<Settings> {
        let mut all = Settings::default();
        let span = |given: Option<Span>, default: Duration| given.map_or(default, |span| span.0);
        set(&mut all.state, &self.state_dir);
        set(&mut all.run, &self.run_dir);
        set(&mut all.pins, &self.pins);
        set(&mut all.port, &self.port);
        set(&mut all.workers, &self.workers);
        set(&mut all.names.namespace, &self.namespace);
        if let Some(veth) = &self.veth {
            all.names.veth = veth.clone();
            all.names.peer = DeviceName::parse(&format!("{veth}p"))
                .context("--veth-peer must be given, since the veth's name has 15 letters")
                .or_else(|error| self.veth_peer.clone().ok_or(error))?;
        }
        set(&mut all.names.peer, &self.veth_peer);
        all.metrics = self.metrics;
        all.ledger_interval = span(self.ledger_interval, all.ledger_interval);
        all.drain = span(self.drain, all.drain);
        all.patience = span(self.patience, all.patience);
        let limits = &mut all.limits;
        set(&mut limits.head_bytes, &self.head_bytes);
        set(&mut limits.headers, &self.headers);
        limits.head_time = span(self.head_time, limits.head_time);
        limits.request_time = span(self.request_time, limits.request_time);
        limits.idle_time = span(self.idle_time, limits.idle_time);
        limits.write_time = span(self.write_time, limits.write_time);
        set(&mut limits.connections_per_port, &self.connections_per_port);
        set(&mut limits.connections, &self.connections);
        set(&mut limits.requests_per_second, &self.requests_per_second);
        set(&mut limits.request_burst, &self.request_burst);
        set(&mut limits.watches_per_port, &self.watches_per_port);
        set(&mut limits.events_per_port, &self.events_per_port);
        set(&mut limits.events_per_second, &self.events_per_second);
        self.set_link_local(&mut limits.link_local);
        check(&all)?;
        Ok(all)
    }

    fn set_link_local(&self, limits: &mut LinkLocalLimits) {
        set(&mut limits.dhcp_per_second, &self.dhcp_per_second);
        set(&mut limits.dhcp_burst, &self.dhcp_burst);
        set(&mut limits.dns_per_second, &self.dns_per_second);
        set(&mut limits.dns_burst, &self.dns_burst);
        set(&mut limits.ntp_per_second, &self.ntp_per_second);
        set(&mut limits.ntp_burst, &self.ntp_burst);
        set(&mut limits.kms_per_second, &self.kms_per_second);
        set(&mut limits.kms_burst, &self.kms_burst);
        set(&mut limits.waiting_per_port, &self.forwarded_per_port);
        set(&mut limits.waiting, &self.forwarded);
        set(&mut limits.streams_per_port, &self.link_local_connections_per_port);
        set(&mut limits.streams, &self.link_local_connections);
    }

    fn provisioner(&self, service: &Settings) -> mezame_provisioner::Settings {
        let mut all = self.provisioner.clone().unwrap_or_else(|| mezame_provisioner::Settings {
            state_dir: PathBuf::new(),
            socket: Some(PathBuf::new()),
            ..mezame_provisioner::Settings::default()
        });
        if all.state_dir.as_os_str().is_empty() {
            all.state_dir.clone_from(&service.state);
        }
        if all.socket.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            all.socket = Some(service.run.join("provisioner.sock"));
        }
        if let Some(socket) = &self.api_socket {
            all.socket = Some(socket.clone());
        }
        if let Some(listen) = self.api_tls {
            let tls = all.tls.take();
            all.tls = Some(TlsSettings {
                listen,
                identity: tls.as_ref().and_then(|tls| tls.identity.clone()),
                names: tls.map(|tls| tls.names).unwrap_or_default(),
            });
        }
        set(&mut all.tokens_file, &self.api_tokens);
        if let Some(directory) = &self.image_archive {
            let images = all.images.get_or_insert_default();
            (images.directory, images.s3) = (Some(directory.clone()), None);
        }
        if let Some(directory) = &self.volumes {
            let whole = std::path::absolute(directory);
            let directory = whole.unwrap_or_else(|_| directory.clone());
            let volumes = all.volumes.get_or_insert_default();
            volumes.pools = [("default".to_owned(), directory.join("pool").into())].into();
            volumes.default_pool = None;
            volumes.masters = Some(directory.join("masters"));
        }
        if let Some(volumes) = &mut all.volumes {
            volumes.freeze_socket.get_or_insert_with(|| service.freeze_socket());
        }
        set(&mut all.region, &self.region);
        set(&mut all.domain, &self.domain);
        all
    }
}

fn set<T: Clone>(setting: &mut T, given: &Option<T>) {
    if let Some(given) = given {
        *setting = given.clone();
    }
}

/// What can't be right is said at the start, not found out by a guest.
fn check(all: &Settings) -> anyhow::Result<()> {
    let Limits { head_bytes, headers, connections_per_port, connections, .. } = all.limits;
    let name = &all.names.namespace;
    ensure!(
        !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..",
        "namespace {name:?} is not valid: a name without '/'"
    );
    ensure!(all.names.veth != all.names.peer, "veth and veth_peer must have different names");
    ensure!(all.port != 0, "port must not be 0");
    ensure!((1..=256).contains(&all.workers), "workers must be from 1 to 256");
    ensure!((8192..=1 << 20).contains(&head_bytes), "head_bytes must be from 8192 to 1048576");
    ensure!((16..=100).contains(&headers), "headers must be from 16 to 100");
    ensure!(connections_per_port >= 1, "connections_per_port must be at least 1");
    ensure!(
        connections >= connections_per_port,
        "connections must not be less than connections_per_port"
    );
    for (what, time) in [
        ("head_time", all.limits.head_time),
        ("request_time", all.limits.request_time),
        ("idle_time", all.limits.idle_time),
        ("write_time", all.limits.write_time),
    ] {
        ensure!(time >= Duration::from_secs(1), "{what} must be at least 1s");
    }
    Ok(())
}

#[cfg(test)]
mod tests;
