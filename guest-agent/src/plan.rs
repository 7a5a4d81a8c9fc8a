//! From the document, the facts and what was done before to the steps of this run. Pure.
//!
//! Order: network, host name, boot commands, files, disk, accounts with their keys and passwords,
//! certificates, ways in from outside, clock, licence, secrets, packages, deferred files, the first boot's commands and scripts. Vendor-data
//! comes before user-data in each of these; where both name the same thing, user-data wins.
//!
//! What says "once" is looked up in the [`History`]: done before → settled; begun and not ended →
//! settled as `interrupted` if it runs code of others, done again if it is idempotent; the same
//! place with other content → settled as `changed-after-run`. What is not supported is a settled
//! step as well: nothing is dropped in silence.

mod people;
mod seed;
mod spelling;

use std::{borrow::Cow, fmt};

use mezame_model::{Document, document::Interface, report::Outcome};

pub use self::spelling::Spelling;
use crate::{
    facts::{Facts, Link, System},
    ledger::{Again, History, Past, Trace},
    step::{Action, Frequency, Step},
    user_data::{Part, windows},
};

/// When a run takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// At boot: everything.
    Boot,
    /// The document changed while the guest runs: keys, users, names, addresses. What is done
    /// once waits for the next boot.
    Live,
}

/// So often in a row a script is run again because it asks for it.
const MAX_AGAIN: u32 = 16;

/// A step with the decision on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// To be done.
    Do {
        /// What.
        step: Step,
        /// An earlier run began it and did not end it.
        resumed: bool,
    },
    /// Not to be done, and why.
    Settled {
        /// Names the step.
        key: String,
        /// `Unchanged`, `Skipped` or `Failed`.
        outcome: Outcome,
        /// A stable word, or empty.
        reason: String,
        /// For people.
        detail: String,
        /// The step whose end is to be noted now, where a crash took that note.
        note: Option<Box<Step>>,
    },
}

/// What is to be done in a run, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Planned>,
    /// How users are called in them, where their names have several spellings.
    pub spelling: Option<Spelling>,
}

/// Plans a run. `history` has entered the run's instance and boot already.
pub fn plan(
    document: &Document,
    vendor: &[Part],
    user: &[Part],
    facts: &Facts,
    history: &History,
    mode: Mode,
) -> Plan {
    let mut vendor = seed::Seed::read("vendor-data", vendor, facts.system);
    let mut user = seed::Seed::read("user-data", user, facts.system);
    let (mut document, mut facts, mut history) =
        (Cow::Borrowed(document), Cow::Borrowed(facts), Cow::Borrowed(history));
    let spelling = (facts.system == System::Windows).then(|| {
        let configs = [&vendor.config, &user.config];
        Spelling::of(&document, &facts, configs, &history)
    });
    if let Some(spelling) = &spelling {
        document = Cow::Owned(spelling.document(&document));
        facts.to_mut().default_user = spelling.name(&facts.default_user);
        history = Cow::Owned(history.respelled(&|name| spelling.name(name)));
        spelling.config(&mut vendor.config);
        spelling.config(&mut user.config);
    }
    let (document, facts, history) = (&*document, &*facts, &*history);
    let mut plan = Planner { history, spelling: spelling.as_ref(), mode, steps: Vec::new() };
    plan.network(document, facts);
    plan.hostname(document, &vendor, &user);
    for seed in [&vendor, &user] {
        plan.all(&seed.boot);
    }
    for seed in [&vendor, &user] {
        plan.all(&seed.files);
    }
    for seed in [&vendor, &user] {
        plan.all(&seed.disk);
    }
    people::plan(&mut plan, document, &vendor.config, &user.config, facts);
    // Before anything that fetches something by TLS.
    if !document.trusted_certificates.is_empty() || facts.has_certificates {
        let action = Action::TrustCertificates(document.trusted_certificates.clone());
        plan.always("trusted certificates".into(), action);
    }
    plan.remote_access(document, facts);
    for seed in [&vendor, &user] {
        plan.all(&seed.clock);
    }
    if let Some(licence) = &facts.licence {
        let step = Step {
            key: "licence".into(),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::Activate(licence.clone()),
        };
        plan.once(step);
    }
    for name in &document.secrets {
        plan.always(format!("secret {name}"), Action::Secret(name.clone()));
    }
    for seed in [&vendor, &user] {
        plan.all(&seed.packages);
    }
    if facts.system == System::Windows {
        plan.startup_tags(document);
    }
    for seed in [&vendor, &user] {
        plan.all(&seed.last);
    }
    for seed in [vendor, user] {
        for (key, outcome, reason, detail) in seed.settled {
            plan.settle(key, outcome, reason, detail);
        }
    }
    let steps = plan.steps;
    Plan { steps, spelling }
}

struct Planner<'a> {
    history: &'a History,
    spelling: Option<&'a Spelling>,
    mode: Mode,
    steps: Vec<Planned>,
}

impl Planner<'_> {
    fn network(&mut self, document: &Document, facts: &Facts) {
        if !facts.configures_network {
            if !document.interfaces.is_empty() {
                let detail = "configure_network is off in the agent's settings".into();
                self.settle("network".into(), Outcome::Skipped, "preserved", detail);
            }
            return;
        }
        let mut known = Vec::new();
        for interface in &document.interfaces {
            let mut cards = Vec::new();
            for mac in interface.cards() {
                match facts.card(*mac) {
                    Some(card) => cards.push(card),
                    None => self.settle(
                        format!("interface {mac}"),
                        Outcome::Skipped,
                        "no-such-interface",
                        "this guest has no device with that MAC".into(),
                    ),
                }
            }
            let Some(first) = cards.first() else { continue };
            let interface = self.supported(interface, first, facts.system);
            let device = match &interface.bond {
                Some(bond) => bond.name.to_string(),
                None => first.name.clone(),
            };
            known.push((device.clone(), interface.clone()));
            let key = format!("interface {device}");
            self.always(key, Action::Interface { device, interface });
        }
        if !known.is_empty() {
            self.always(
                "network configuration".into(),
                Action::PersistNetwork { interfaces: known },
            );
        }
    }

    /// The interface without what is done on Linux alone: of a bond, its first card.
    fn supported(&mut self, interface: &Interface, first: &Link, system: System) -> Interface {
        let mut interface = interface.clone();
        if system == System::Unix {
            return interface;
        }
        let mut unsupported = |key: String, what: &str| {
            let detail = format!("{what} are made on Linux alone");
            self.settle(key, Outcome::Failed, "unsupported", detail);
        };
        for vlan in std::mem::take(&mut interface.vlans) {
            unsupported(format!("interface {}.{}", first.name, vlan.id), "VLANs");
        }
        if let Some(bond) = interface.bond.take() {
            unsupported(format!("interface {}", bond.name), "bonds");
            interface.mac = first.mac;
        }
        interface
    }

    /// As cloud-init chooses: the short name is the host's, the full one stands in /etc/hosts, and
    /// where only one of the two is given the other is made of it or is the document's.
    fn hostname(&mut self, document: &Document, vendor: &seed::Seed, user: &seed::Seed) {
        let configs = [&user.config, &vendor.config];
        if configs.iter().any(|config| config.preserve_hostname) {
            let detail = "preserve_hostname is set".into();
            return self.settle("hostname".into(), Outcome::Skipped, "preserved", detail);
        }
        let hostname = configs.iter().find_map(|config| config.hostname.as_deref());
        let fqdn = configs.iter().find_map(|config| config.fqdn.as_deref());
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        let (host, fqdn) = match (hostname, fqdn) {
            (host, Some(fqdn)) => (host.map_or_else(|| short(fqdn), str::to_owned), fqdn),
            (Some(host), None) if host.contains('.') => (short(host), host),
            (Some(host), None) => (host.to_owned(), document.hostname.as_str()),
            (None, None) => (short(&document.hostname), document.hostname.as_str()),
        };
        let prefers_fqdn = configs.iter().find_map(|config| config.prefer_fqdn).unwrap_or_default();
        let wanted = if prefers_fqdn { fqdn } else { &host };
        if [wanted, fqdn].into_iter().any(|name| !mezame_model::id::is_hostname(name)) {
            let detail = mezame_model::id::HOSTNAME_RULE.into();
            return self.settle("hostname".into(), Outcome::Failed, "bad-value", detail);
        }
        self.always("hostname".into(), Action::Hostname(wanted.to_owned()));
        if configs.iter().find_map(|config| config.own_name_in_hosts) != Some(false) {
            let names = if *host == *fqdn { vec![host] } else { vec![fqdn.to_owned(), host] };
            self.always("own name".into(), Action::OwnName(names));
        }
    }

    /// Ways into a Windows; its certificate is for the name that it gets.
    fn remote_access(&mut self, document: &Document, facts: &Facts) {
        let name = self.steps.iter().find_map(|planned| match planned {
            Planned::Do { step: Step { action: Action::Hostname(name), .. }, .. } => Some(name),
            _ => None,
        });
        let hostname = name.unwrap_or(&document.hostname).clone();
        let desktop = document.remote_desktop.map(Action::RemoteDesktop);
        let winrm = document.winrm.map(|wanted| Action::Winrm { wanted, hostname });
        for (key, action) in [("remote desktop", desktop), ("winrm", winrm)] {
            let Some(action) = action else { continue };
            if facts.system == System::Windows {
                self.always(key.into(), action);
            } else {
                let detail = "it is for Windows, and this is another system".into();
                self.settle(key.into(), Outcome::Skipped, "other-system", detail);
            }
        }
    }

    /// Scripts that stand in tags, as Google's agent runs them on Windows.
    fn startup_tags(&mut self, document: &Document) {
        for tag in windows::STARTUP_TAGS {
            let Some(body) = document.tags.get(tag) else { continue };
            let language = windows::language_of_tag(tag);
            let key = format!("tag {tag}");
            self.once(seed::run(key, Frequency::PerBoot, body.as_bytes(), &language, 0));
        }
        for tag in windows::UNSUPPORTED_TAGS {
            if document.tags.get(tag).is_some() {
                let detail = "this tag is not supported".into();
                self.settle(format!("tag {tag}"), Outcome::Skipped, "unsupported-key", detail);
            }
        }
    }

    /// The one name of a user.
    fn name(&self, user: &str) -> String {
        self.spelling.map_or_else(|| user.to_owned(), |spelling| spelling.name(user))
    }

    fn always(&mut self, key: String, action: Action) {
        let step = Step { key, frequency: Frequency::Always, fingerprint: None, action };
        self.steps.push(Planned::Do { step, resumed: false });
    }

    fn all(&mut self, steps: &[Step]) {
        for step in steps {
            self.once(step.clone());
        }
    }

    /// As [`Planner::once`], but done in a live run as well: a new user's password can't wait.
    fn once_even_live(&mut self, step: Step) {
        let mode = std::mem::replace(&mut self.mode, Mode::Boot);
        self.once(step);
        self.mode = mode;
    }

    /// A step with a frequency: done, or settled by what was done before.
    fn once(&mut self, step: Step) {
        if step.frequency == Frequency::Always {
            self.steps.push(Planned::Do { step, resumed: false });
            return;
        }
        let settled = match self.history.past(&step) {
            Past::New if self.mode == Mode::Live => Planned::Settled {
                key: step.key,
                outcome: Outcome::Skipped,
                reason: "at-next-boot".into(),
                detail: format!("runs {}, at the next boot", step.frequency),
                note: None,
            },
            Past::New => Planned::Do { step, resumed: false },
            Past::Again(again) => self.again(step, again),
            Past::Interrupted if step.action.runs_foreign_code() => Planned::Settled {
                key: step.key.clone(),
                outcome: Outcome::Failed,
                reason: "interrupted".into(),
                detail: format!(
                    "an earlier run was cut off in it; it says {}, so it is not run again",
                    step.frequency
                ),
                note: Some(Box::new(step)),
            },
            Past::Interrupted => Planned::Do { step, resumed: true },
            Past::Ended(trace) => done_before(step, trace),
            // A password's hash is a state, not a deed: the new one is set.
            Past::Other(_) if matches!(step.action, Action::PasswordHash { .. }) => {
                Planned::Do { step, resumed: false }
            }
            // The same for each ask for another password, and for none before the last that was
            // answered.
            Past::Other(trace) if matches!(step.action, Action::GeneratePassword { .. }) => {
                if step.fingerprint > trace.fingerprint {
                    Planned::Do { step, resumed: false }
                } else {
                    done_before(step, trace)
                }
            }
            Past::Other(_) => Planned::Settled {
                key: step.key,
                outcome: Outcome::Skipped,
                reason: "changed-after-run".into(),
                detail: format!(
                    "something else was run in its place before, and it says {}",
                    step.frequency
                ),
                note: None,
            },
        };
        self.steps.push(settled);
    }

    /// A script that asked to be run again at the next boot.
    fn again(&self, step: Step, again: &Again) -> Planned {
        let settled = |outcome, reason: &str, detail: String| Planned::Settled {
            key: step.key.clone(),
            outcome,
            reason: reason.into(),
            detail,
            note: None,
        };
        if again.times >= MAX_AGAIN {
            let detail = format!("it asked {MAX_AGAIN} times in a row to be run again");
            settled(Outcome::Failed, "runs-for-ever", detail)
        } else if self.mode == Mode::Live || again.boot == self.history.boot {
            let detail = "it asked to be run again at the next boot".into();
            settled(Outcome::Skipped, "at-next-boot", detail)
        } else {
            Planned::Do { step, resumed: false }
        }
    }

    fn settle(&mut self, key: String, outcome: Outcome, reason: &str, detail: String) {
        let reason = reason.to_owned();
        self.steps.push(Planned::Settled { key, outcome, reason, detail, note: None });
    }
}

fn done_before(step: Step, trace: &Trace) -> Planned {
    Planned::Settled {
        key: step.key,
        outcome: Outcome::Unchanged,
        reason: trace.reason.clone(),
        detail: format!("done before, {}", step.frequency),
        note: None,
    }
}

/// One line a step, for `--dry-run` and for golden files.
impl fmt::Display for Plan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for planned in &self.steps {
            match planned {
                Planned::Do { step, resumed } => {
                    let again = if *resumed { " (again)" } else { "" };
                    writeln!(
                        out,
                        "do      {}: {} [{}]{again}",
                        step.key, step.action, step.frequency
                    )?;
                }
                Planned::Settled { key, outcome, reason, detail, .. } => {
                    let word = match outcome {
                        Outcome::Done => "done",
                        Outcome::Unchanged => "keep",
                        Outcome::Skipped => "skip",
                        Outcome::Failed => "fail",
                    };
                    let dash = if reason.is_empty() { "" } else { ": " };
                    writeln!(out, "{word}    {key}: {reason}{dash}{detail}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
