//! The two guests: their taps, their boots, and the logins that show what became of them.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use mezame_model::report::{Outcome, Report};
use mezame_tests::{
    Lab,
    guest_image::GuestImage,
    qemu::{Machine, QemuGuest},
    ssh::{Key, Login, SshTarget},
    tenant::Tenant,
    wait::{self, A_BOOT},
};

use crate::{
    Progress,
    result::GuestResult,
    seed::{ADDRESS, MAC, Seed, TENANT_ADDRESS, TenantSeed, USER},
};

/// Both, each in its tenant's network.
pub(crate) struct Guests {
    guests: Vec<Guest>,
}

struct Guest {
    project: &'static str,
    instance: &'static str,
    machine: QemuGuest,
    server: SshTarget,
    report: Option<Report>,
    /// Keeps the tenant's bridge and machine.
    _tenant: Tenant,
}

impl Guests {
    /// Makes the tenants' networks and taps, and starts both guests.
    pub(crate) fn boot(lab: &Lab, seed: &Seed) -> Result<Self> {
        let image = GuestImage::small(&lab.binaries.agent, lab.directory())?;
        let boot = |tenant: &TenantSeed| -> Result<Guest> {
            let network = Tenant::create(&lab.hypervisor, tenant.vni, TENANT_ADDRESS)?;
            let tap = lab.tap(tenant.device)?;
            network.plug(tenant.device)?;
            let machine = Machine::new(tenant.instance, MAC);
            let machine = QemuGuest::boot(&lab.hypervisor, &image, &machine, tap, lab.directory())?;
            let server = SshTarget::new(network.machine(), ADDRESS, lab.directory());
            Ok(Guest {
                project: tenant.project,
                instance: tenant.instance,
                machine,
                server,
                report: None,
                _tenant: network,
            })
        };
        Ok(Self { guests: seed.tenants.iter().map(boot).collect::<Result<_>>()? })
    }

    /// Waits for each guest's report.
    pub(crate) fn until_configured(&mut self, lab: &Lab, progress: &Progress) -> Result<()> {
        for guest in &mut self.guests {
            let what = format!("the report of {}", guest.instance);
            let report = wait::until(&what, A_BOOT, || {
                guest.machine.ensure_running()?;
                let reports = lab.operator.reports(guest.project, guest.instance)?;
                let Some(newest) = reports.into_iter().next() else {
                    bail!("none yet; its console:\n{}", guest.machine.console())
                };
                Ok(newest.report)
            })?;
            progress.line(&format!(
                "          {} is configured: {} steps{}",
                guest.instance,
                report.steps.len(),
                faults_of(&report)
            ));
            let keys: Vec<String> =
                report.host_keys.iter().map(|key| key.public_key.clone()).collect();
            guest.server.believe(&keys, guest.instance)?;
            guest.report = Some(report);
        }
        Ok(())
    }

    /// Logs in to each guest by every way there is, and by those that there must not be.
    pub(crate) fn log_in(&self, seed: &Seed) -> Result<Vec<GuestResult>> {
        let mut results = Vec::new();
        for (at, guest) in self.guests.iter().enumerate() {
            let (own, other) = (&seed.tenants[at], &seed.tenants[1 - at]);
            let report = guest.report.as_ref().context("the guest has reported")?;
            let script = guest.server.with_key("root", &own.key, "cat /root/configured")?;
            let stranger = guest.server.with_key("root", &other.key, "true")?;
            let password = guest.server.with_password(USER, &own.password, "id -un")?;
            let false_password = guest.server.with_password(USER, &other.password, "true")?;
            let script_output = match &script {
                Login::In(output) => output.trim().to_owned(),
                Login::Refused => String::new(),
            };
            results.push(GuestResult {
                name: own.instance.into(),
                vni: own.vni,
                ip: ADDRESS.into(),
                mac: MAC.into(),
                ssh_own_key: script != Login::Refused,
                ssh_other_key: stranger != Login::Refused,
                password_set: password == Login::In(format!("{USER}\n"))
                    && false_password == Login::Refused,
                script_ran: script_output == format!("{} configured itself", own.instance),
                configured_ms: report.configured_ms.context("the report has no time")?,
                script_output,
            });
        }
        Ok(results)
    }

    /// Adds a key to the first guest by the operator, and says after how many milliseconds it
    /// opened the guest.
    pub(crate) fn add_key_live(&self, lab: &Lab, seed: &mut Seed) -> Result<u64> {
        let guest = &self.guests[0];
        let key = Key::generate(lab.directory(), "added-live")?;
        let booted =
            |key: &Key| guest.server.with_key("root", key, "cat /proc/sys/kernel/random/boot_id");
        let boot = booted(&seed.tenants[0].key)?;
        if booted(&key)? != Login::Refused {
            bail!("a key that nobody has given opens {}", guest.instance);
        }
        seed.add_key(0, &key.public()?)?;
        let begin = Instant::now();
        lab.operator.apply_file(seed.directory())?;
        let after = wait::until("the new key to work", A_BOOT, || match booted(&key)? {
            Login::Refused => bail!("it is still refused"),
            entered => Ok(entered),
        })?;
        let elapsed = begin.elapsed();
        anyhow::ensure!(boot == after, "the guest was rebooted meanwhile");
        Ok(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}

/// What went wrong in a run of the agent, for people.
fn faults_of(report: &Report) -> String {
    report
        .steps
        .iter()
        .filter(|step| matches!(step.outcome, Outcome::Failed | Outcome::Skipped))
        .map(|step| format!("; {}: {:?} {} {}", step.step, step.outcome, step.reason, step.detail))
        .collect()
}
