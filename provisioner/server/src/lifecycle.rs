//! What guests say, and what it makes of an instance's status.
//!
//! ```text
//! waiting ──report, no step failed──► configured ◄──┐
//!    └─────report, a step failed────► failed ───────┴─ each later report decides anew
//! ```
//!
//! Pure: an event and the state give the write, or the reason for which it is refused. All of it
//! was written by a guest: bounded, and believed only as far as "this port's guest says so".

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use mezame_model::{
    Acknowledgement, FeedError, Generation, GuestAttribute, GuestAttributeError, GuestEvent,
    Instance, Report, SecretDigest,
    api::{Event, Kind, StoredKeyRequest},
    report::{GuestEventKind, HostKey, NovaPassword, Outcome, SealedPassword},
    volume_key::KeyOutcome,
};
use mezame_protocol::spent::digest_of;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    password_resets,
    record::{Failure, InstanceRecord, Observed, Record},
    state::{Changes, HeldInstance, State},
};

/// The longest report, in bytes of JSON.
const LONGEST_REPORT: usize = 1 << 20;
/// The longest sealed password, with its recipient.
const LONGEST_PASSWORD: usize = 24 << 10;
/// Most host keys of a guest.
const MOST_HOST_KEYS: usize = 16;
/// How many failed steps the status names.
const FAILURES_NAMED: usize = 8;

/// What a guest's event makes to be written.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) changes: Changes,
    pub(crate) report: Option<Report>,
    pub(crate) password: Option<SealedPassword>,
    pub(crate) key_request: Option<StoredKeyRequest>,
    pub(crate) event: Option<Event>,
}

/// Works out what an event changes. None where it changes nothing.
pub(crate) fn hear(state: &State, event: &GuestEvent) -> Result<Option<Heard>, FeedError> {
    let refused = |reason| Err(FeedError::Refused { reason });
    let Some(port) = state.port_by_id(&event.port) else { return refused("unknown-port") };
    if port.instance.as_ref() != Some(&event.instance) {
        return refused("other-instance");
    }
    let Some(held) = state.instance_by_id(&event.instance) else {
        return refused("unknown-instance");
    };
    let instance = &held.record.instance;
    let mut heard = Heard::default();
    let (what, detail) = match &event.kind {
        GuestEventKind::Report(report) => hear_report(&mut heard, held, event, report)?,
        GuestEventKind::Password(password) => hear_password(&mut heard, held, event, password)?,
        GuestEventKind::SecretAcknowledged(read) => match consume(held, read) {
            Consumption::Now(record) => {
                heard.changes.puts.push(Record::Instance(Arc::new(record)));
                ("secret-acknowledged", read.name.to_string())
            }
            Consumption::OfEarlierValue => {
                ("secret-acknowledged", format!("{} (an earlier value)", read.name))
            }
            Consumption::Before => return Ok(None),
            Consumption::Unknown => return refused("unknown-secret"),
        },
        GuestEventKind::NovaPassword(password) => match hear_nova_password(held, password)? {
            Some(record) => {
                heard.changes.puts.push(record);
                ("password", "posted as OpenStack's clients do".to_owned())
            }
            None => return Ok(None),
        },
        // No event for operators: a guest may write as often as it likes, and their history is not
        // for it to fill.
        GuestEventKind::GuestAttribute(change) => return with_attribute(held, change),
        GuestEventKind::VolumeKey(request) => {
            heard.key_request = Some(StoredKeyRequest {
                at_ms: event.at_ms,
                port: event.port.clone(),
                request: request.clone(),
            });
            match &request.outcome {
                KeyOutcome::Released(_) => ("volume-key-released", request.volume.to_string()),
                // As above: a guest may ask in vain as often as it likes.
                KeyOutcome::Withheld(_) => return Ok(Some(heard)),
            }
        }
    };
    heard.event = Some(Event {
        generation: Generation::ZERO,
        at_ms: event.at_ms,
        project: instance.project.to_string(),
        kind: Kind::Instance,
        name: instance.name.to_string(),
        what: what.into(),
        detail,
    });
    Ok(Some(heard))
}

/// Takes a sealed password in: what the event says of it.
fn hear_password(
    heard: &mut Heard,
    held: &HeldInstance,
    event: &GuestEvent,
    password: &SealedPassword,
) -> Result<(&'static str, String), FeedError> {
    let nova = password.nova.as_ref().map_or(0, String::len);
    if password.sealed.len() + password.recipient.len() > LONGEST_PASSWORD
        || nova > NovaPassword::LENGTH_MAX
    {
        return Err(FeedError::Refused { reason: "too-large" });
    }
    heard.password = Some(password.clone());
    heard.changes.puts.extend(password_resets::answered(held, password, event.at_ms));
    Ok(("password", format!("of {}", password.user)))
}

/// The record with a password as OpenStack's clients post it; None where there is one.
fn hear_nova_password(
    held: &HeldInstance,
    password: &NovaPassword,
) -> Result<Option<Record>, FeedError> {
    if password.ciphertext.expose().len() > NovaPassword::LENGTH_MAX {
        return Err(FeedError::Refused { reason: "too-large" });
    }
    // Set once: the first that came is the one that the guest has.
    if held.record.instance.nova_password.is_some() {
        return Ok(None);
    }
    let mut changed = Instance::clone(&held.record.instance);
    changed.nova_password = Some(password.ciphertext.clone());
    Ok(Some(rewritten(held, changed)))
}

/// Takes a report in: what the event says of it.
fn hear_report(
    heard: &mut Heard,
    held: &HeldInstance,
    event: &GuestEvent,
    report: &Report,
) -> Result<(&'static str, String), FeedError> {
    if report.instance_id != event.instance {
        return Err(FeedError::Refused { reason: "other-instance" });
    }
    let length = serde_json::to_vec(report).map_or(usize::MAX, |bytes| bytes.len());
    if length > LONGEST_REPORT || report.host_keys.len() > MOST_HOST_KEYS {
        return Err(FeedError::Refused { reason: "too-large" });
    }
    // A report that was held up on its way must not hide a newer one.
    if held.observed.as_ref().is_none_or(|last| last.at_ms <= event.at_ms) {
        let observed = Arc::new(observe(report, event.at_ms));
        heard.changes.observed.push((held.record.instance.id.clone(), observed));
    }
    heard.report = Some(report.clone());
    Ok(("reported", word(report.outcome).to_owned()))
}

/// What a guest's write to its attributes changes; none where all was so already.
fn with_attribute(
    held: &HeldInstance,
    change: &GuestAttribute,
) -> Result<Option<Heard>, FeedError> {
    let refused = |reason| Err(FeedError::Refused { reason });
    let instance = &held.record.instance;
    let attributes = match instance.guest_attributes.with(change) {
        Ok(attributes) => attributes,
        Err(GuestAttributeError::Full) => return refused("too-large"),
        Err(GuestAttributeError::Malformed) => return refused("malformed"),
    };
    if attributes == instance.guest_attributes {
        return Ok(None);
    }
    let mut changed = Instance::clone(instance);
    changed.guest_attributes = attributes;
    let mut heard = Heard::default();
    heard.changes.puts.push(rewritten(held, changed));
    Ok(Some(heard))
}

/// The record with a change that the guest has made. The revision stays what operators know: a
/// guest that writes all the time must not keep an operator's edit from landing.
fn rewritten(held: &HeldInstance, instance: Instance) -> Record {
    Record::Instance(Arc::new(InstanceRecord {
        instance: Arc::new(instance),
        revision: Some(held.revision),
        ..InstanceRecord::clone(&held.record)
    }))
}

/// What an acknowledgement makes of a secret.
enum Consumption {
    /// It is gone from this record.
    Now(InstanceRecord),
    /// Nothing: the operator has set another value since the guest read that one.
    OfEarlierValue,
    /// Nothing: it was gone before.
    Before,
    /// There is and was none of this name.
    Unknown,
}

/// Takes a secret that was read out of the record, if its value is still the one that was read.
/// An acknowledgement may be long on its way.
fn consume(held: &HeldInstance, read: &Acknowledgement) -> Consumption {
    let record = &*held.record;
    let is_read = |value: SecretDigest| read.digest.is_none_or(|read| read == value);
    let Some(value) = record.instance.secrets.get(&read.name) else {
        return match record.consumed.get(&read.name) {
            Some(consumed) if is_read(*consumed) => Consumption::Before,
            Some(_) => Consumption::OfEarlierValue,
            None => Consumption::Unknown,
        };
    };
    let digest = digest_of(&record.instance.id, &read.name, value);
    if !is_read(digest) {
        return Consumption::OfEarlierValue;
    }
    let mut consumed = record.consumed.clone();
    consumed.insert(read.name.clone(), digest);
    let mut instance = Instance::clone(&record.instance);
    instance.secrets.remove(&read.name);
    let instance = Arc::new(instance);
    Consumption::Now(InstanceRecord { instance, consumed, revision: None, ..record.clone() })
}

fn observe(report: &Report, at_ms: u64) -> Observed {
    let count = |outcome| {
        let steps = report.steps.iter().filter(|step| step.outcome == outcome).count();
        u32::try_from(steps).unwrap_or(u32::MAX)
    };
    let failed = report.steps.iter().filter(|step| step.outcome == Outcome::Failed);
    Observed {
        at_ms,
        outcome: report.outcome,
        agent: cut(&report.agent, 100),
        boot_id: cut(&report.boot_id, 100),
        run: report.run,
        done: count(Outcome::Done),
        unchanged: count(Outcome::Unchanged),
        skipped: count(Outcome::Skipped),
        failed: count(Outcome::Failed),
        failures: failed
            .take(FAILURES_NAMED)
            .map(|step| Failure { step: cut(&step.step, 200), reason: cut(&step.reason, 200) })
            .collect(),
        configured_ms: report.configured_ms,
        total_ms: report.total_ms,
        host_keys: report
            .host_keys
            .iter()
            .map(|key| HostKey { public_key: cut(&key.public_key, 4096) })
            .collect(),
    }
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done | Outcome::Unchanged | Outcome::Skipped => "configured",
        Outcome::Failed => "failed",
    }
}

/// What operators see of it in the instance's status.
pub(crate) fn status(observed: Option<&Observed>) -> (&'static str, Option<Value>) {
    let Some(observed) = observed else { return ("waiting", None) };
    let report = json!({
        "at_ms": observed.at_ms,
        "agent": observed.agent,
        "boot_id": observed.boot_id,
        "run": observed.run,
        "configured_ms": observed.configured_ms,
        "total_ms": observed.total_ms,
        "steps": {
            "done": observed.done,
            "unchanged": observed.unchanged,
            "skipped": observed.skipped,
            "failed": observed.failed,
        },
        "failures": observed.failures,
        "host_keys": observed.host_keys.iter().map(host_key).collect::<Vec<_>>(),
    });
    (word(observed.outcome), Some(report))
}

/// A host key with the fingerprint that `ssh` shows at the first login.
fn host_key(key: &HostKey) -> Value {
    let mut words = key.public_key.split_ascii_whitespace();
    let kind = words.next().unwrap_or_default();
    let fingerprint = words.next().and_then(fingerprint);
    json!({ "type": kind, "fingerprint": fingerprint, "public_key": key.public_key })
}

/// `SHA256:` and the digest of the key's blob in base64 without padding, as OpenSSH prints it.
fn fingerprint(encoded: &str) -> Option<String> {
    let blob = STANDARD.decode(encoded).ok()?;
    Some(format!("SHA256:{}", STANDARD_NO_PAD.encode(digest(&SHA256, &blob).as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_what_ssh_keygen_prints() {
        // ssh-keygen -lf of this key.
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEwsbxA2zMlrMMhn31iSlbiEvYr1LvR";
        assert_eq!(fingerprint(key).unwrap(), "SHA256:869vKhJXp/RsHUuYtudZR4KurNIT6caU15Qbd+j5fsY");
        assert_eq!(fingerprint("%%%"), None);
    }

    #[test]
    fn a_report_that_failed_names_the_steps_that_did() {
        let step = |name: &str, outcome| mezame_model::report::StepReport {
            step: name.into(),
            outcome,
            reason: if outcome == Outcome::Failed { "script-exit".into() } else { String::new() },
            detail: "x".repeat(5000),
            milliseconds: 1,
        };
        let report = Report {
            instance_id: mezame_model::InstanceId::parse("i-00000000000000000").unwrap(),
            agent: "0.1.0".into(),
            boot_id: "b".into(),
            run: 1,
            outcome: Outcome::Failed,
            steps: vec![step("hostname", Outcome::Done), step("script 1", Outcome::Failed)],
            configured_ms: Some(12),
            total_ms: 40,
            host_keys: vec![],
        };
        let (state, shown) = status(Some(&observe(&report, 7)));
        let shown = shown.unwrap();
        assert_eq!(state, "failed");
        assert_eq!(shown["steps"]["failed"], 1);
        assert_eq!(shown["failures"], json!([{ "step": "script 1", "reason": "script-exit" }]));
        assert!(!shown.to_string().contains("xxx"), "details stay in the report");
    }
}
