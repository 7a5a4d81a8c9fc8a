//! One run: plan the document, do it, keep the report, send what waits.

use std::{io, path::PathBuf, time::Duration};

use mezame_model::{Document, InstanceId, Report, report::HostKey};

use super::{Finished, discover};
use crate::{
    apply::Applier,
    endpoint::Endpoint,
    ledger::{Ledger, LedgerError},
    outbox::{Outbox, OutboxError, write_synced},
    plan::{self, Mode, Plan},
    platform::{self, Platform, PlatformError, Weight},
    settings::Settings,
    source::{Fetched, Source, SourceError, Upstream, http},
    user_data::{self, Part, include},
};

/// The file in the agent's state that keeps the interfaces of the last document.
pub const LAST_NETWORK: &str = "last-network.json";

/// Why a run came to no end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// No document came in time.
    #[error("no document came in time: {0}")]
    Discover(#[source] discover::DiscoverError),
    /// The agent's own state can't be used.
    #[error("{path}: {source}", path = path.display())]
    State {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was done before is not known.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What waits to be sent can't be kept.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The guest can't be looked at.
    #[error(transparent)]
    Platform(#[from] PlatformError),
}

impl RunError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Discover(error) => error.reason(),
            Self::State { .. } => "state",
            Self::Ledger(LedgerError::Locked { .. }) => "already-running",
            Self::Ledger(_) => "ledger",
            Self::Outbox(_) => "outbox",
            Self::Platform(error) => error.reason(),
        }
    }
}

/// The agent with its state.
pub struct Agent<'a> {
    settings: &'a Settings,
    platform: &'a dyn Platform,
    ledger: Ledger,
    outbox: Outbox,
    instance: Option<InstanceId>,
}

impl<'a> Agent<'a> {
    /// Opens the state; fails where another agent holds it.
    pub fn open(settings: &'a Settings, platform: &'a dyn Platform) -> Result<Self, RunError> {
        let path = settings.state();
        platform::create_private_directory(&path)
            .map_err(|source| RunError::State { path: path.clone(), source })?;
        let ledger = Ledger::open(&path)?;
        let outbox = Outbox::open(&path)?;
        Ok(Self { settings, platform, ledger, outbox, instance: None })
    }

    /// Applies a document and reports. A lost report is no failure of the run: it waits.
    pub fn apply(
        &mut self,
        path: &mut discover::Path,
        fetched: &Fetched,
        mode: Mode,
    ) -> Result<Finished, RunError> {
        let document = &fetched.document;
        let facts = self.platform.facts()?;
        let (first_packet, first_reply) = path.source.first_times();
        let run = self.ledger.begin_run(&document.instance_id, &facts.boot_id)?;
        self.instance = Some(document.instance_id.clone());
        let (vendor, user) = seeds(self.settings, document);
        let plan = plan::plan(document, &vendor, &user, &facts, self.ledger.history(), mode);
        let mut applier = Applier {
            platform: self.platform,
            ledger: &mut self.ledger,
            outbox: &self.outbox,
            upstream: path,
            instance: document.instance_id.clone(),
            mode,
        };
        let applied = applier.apply(&plan)?;
        let since = |from: Option<std::time::Instant>| {
            let configured = applied.configured_at?.checked_duration_since(from?)?;
            Some(configured.saturating_sub(applied.scripts_before))
        };
        let host_keys = self
            .platform
            .host_keys()
            .into_iter()
            .map(|public_key| HostKey { public_key })
            .collect();
        let report = Report {
            instance_id: document.instance_id.clone(),
            agent: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: facts.boot_id,
            run,
            outcome: applied.outcome(),
            steps: applied.steps.clone(),
            configured_ms: since(first_packet).map(milliseconds),
            total_ms: first_packet.map_or(0, |from| milliseconds(from.elapsed())),
            host_keys,
        };
        self.keep(&report, document)?;
        let reported = self.send_mail(path).is_ok();
        let reply_to_configured = since(first_reply);
        let lost_service = applied.lost_service;
        let rolled_back = applied.rolled_back;
        let reboot = applied.reboot;
        Ok(Finished { report, reply_to_configured, reported, lost_service, rolled_back, reboot })
    }

    /// Keeps what a run has brought, for the service, for `status` and for the guest's own programs.
    fn keep(&self, report: &Report, document: &Document) -> Result<(), RunError> {
        self.outbox.keep_report(report)?;
        let last = self.settings.state().join("last-report.json");
        let json = serde_json::to_vec_pretty(report).unwrap_or_default();
        write_synced(&last, &json).map_err(|source| RunError::State { path: last, source })?;
        let network = self.settings.state().join(LAST_NETWORK);
        let json = serde_json::to_vec(&document.interfaces).unwrap_or_default();
        write_synced(&network, &json)
            .map_err(|source| RunError::State { path: network, source })?;
        if let Err(error) = self.platform.show_run(report) {
            platform::say(Weight::FailedRun, &format!("the run can't be shown: {error}"));
        }
        Ok(())
    }

    /// Whether something waits to be sent.
    pub fn has_mail(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Sends what waits.
    pub fn send_mail(&self, upstream: &mut dyn Upstream) -> Result<(), SourceError> {
        let Some(instance) = &self.instance else { return Ok(()) };
        let mut refused = Vec::new();
        let result = self.outbox.send(upstream, instance, &mut refused);
        for (what, error) in refused {
            eprintln!("guest-agent: the service refused the {what}: {error}");
        }
        result
    }
}

/// The plan of a run now, without a trace of having looked.
pub fn look(
    settings: &Settings,
    platform: &dyn Platform,
    source: &mut Source,
    fetched: &Fetched,
) -> Result<Plan, RunError> {
    source.disconnect();
    let facts = platform.facts()?;
    let history = match Ledger::look(&settings.state()) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            return Err(RunError::State { path: settings.state(), source });
        }
        known => known.unwrap_or_default(),
    };
    let history = history.entering(&fetched.document.instance_id, &facts.boot_id);
    let (vendor, user) = seeds(settings, &fetched.document);
    Ok(plan::plan(&fetched.document, &vendor, &user, &facts, &history, Mode::Boot))
}

/// Vendor-data and user-data, taken apart, include lists followed where that is allowed.
fn seeds(settings: &Settings, document: &Document) -> (Vec<Part>, Vec<Part>) {
    let parts = |data: &Option<mezame_model::UserData>| {
        let parts = data.as_ref().map_or(Vec::new(), |data| user_data::parse(data.bytes()));
        let mut fetch = fetch_include;
        let fetch: &mut include::FetchInclude<'_> = &mut fetch;
        include::resolve(parts, settings.follow_includes.then_some(fetch))
    };
    (parts(&document.vendor_data), parts(&document.user_data))
}

/// Plain HTTP to an address; a name would need a resolver, which a static binary has not.
fn fetch_include(url: &str) -> Result<Vec<u8>, String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// is supported")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let server = Endpoint::of_authority(host).map_err(|error| error.to_string())?;
    let fine = |byte: u8| byte.is_ascii_graphic();
    if !path.bytes().all(fine) {
        return Err("the path has characters that must be escaped".into());
    }
    let target = format!("/{path}");
    let request = http::Request {
        method: "GET",
        target: &target,
        headers: &[],
        body: None,
        timeout: Duration::from_secs(30),
    };
    let response = http::Client::new(server.socket_address(0), None)
        .exchange(&request)
        .map_err(|error| error.to_string())?;
    match response.head.status {
        200 => Ok(response.body),
        status => Err(format!("the server answered {status}")),
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
