//! `agent.cloud-init`: from the start of cloud-init to a configured guest, against the agent.
//!
//! Both on equal copies of one root, in the same guest's namespace, of the same instance, each pinned
//! to the same CPU; what is timed is what runs in the guest: all of cloud-init's stages without the
//! time that an init leaves between them, and the whole of the agent's run, its report included.

use anyhow::{Context, bail, ensure};
use mezame_tests::{
    Lab, client_machine::ClientMachine, equal_image, namespace_guest::NamespaceGuest, operator,
    wait,
};
use serde_json::json;

use crate::{pinned::Cpu, row::Row, sample::median};

const ROUNDS: usize = 9;
const MAC: &str = "52:54:00:00:00:0a";
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n bench";
/// A small server, as people configure one.
const USER_DATA: &str = "#cloud-config
hostname: web
users:
  - default
  - name: ada
    groups: [adm]
    shell: /bin/bash
    sudo: ['ALL=(ALL) NOPASSWD:ALL']
    ssh_authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTu3ewZ3Nq0vXnE0lH0zR1mJZ6vXqYxkqgq0Yx2a7bD ada
write_files:
  - {path: /etc/app/settings, permissions: '0600', content: 'listen = 8080'}
timezone: Europe/Berlin
runcmd:
  - touch /srv/configured
";

/// Measures the row.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start()?;
    ensure!(lab.binaries.agent.exists(), "{} is not there", lab.binaries.agent.display());
    let mut instance = operator::instance(
        "bench",
        "guest",
        "port",
        &json!({"ssh_keys": [KEY], "user_data": USER_DATA, "dialects": ["nocloud", "mezame"]}),
    );
    instance["hostname"] = "guest".into();
    lab.operator.apply(&[
        operator::project("bench"),
        operator::network("bench", "lan", 1000, "192.168.0.0/24"),
        operator::port("bench", "port", "lan", MAC, &["192.168.0.10"], "bt0"),
        instance,
    ])?;
    let guest = lab.guest("bt0", MAC, &["192.168.0.10/24"])?;
    wait::until("an answer", wait::SOON, || match guest.get("/")?.status {
        200 | 401 => Ok(()),
        status => bail!("status {status}"),
    })?;
    let smbios = lab.operator.smbios("bench", "guest")?;
    let once = |boot: &str| timed(&lab, cpu, &guest, &smbios, boot);
    let agent = "guest-agent run --timeout 60";
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (fast, slow) = if round % 2 == 0 {
            let fast = once(agent)?;
            (fast, once(equal_image::STAGES)?)
        } else {
            let slow = once(equal_image::STAGES)?;
            (once(agent)?, slow)
        };
        // The first warms up.
        if round > 0 {
            ours.push(fast);
            theirs.push(slow);
            ratios.push(slow / fast);
        }
    }
    let middle = |values: &[f64]| median(values).context("no round");
    Ok(vec![Row::beside(
        "agent.cloud-init",
        middle(&ours)?,
        "ms",
        middle(&ratios)?,
        format!("cloud-init: {:.0} ms", middle(&theirs)?),
    )])
}

/// Milliseconds that a boot takes on a new copy of the root, as bash's own clock says.
fn timed(
    lab: &Lab,
    cpu: Cpu,
    guest: &NamespaceGuest,
    smbios: &[String],
    boot: &str,
) -> anyhow::Result<f64> {
    let machine = ClientMachine::make(guest, smbios, lab.directory())?;
    equal_image::furnish(&machine, &lab.binaries.agent, "")?;
    let script = format!(
        "#!/bin/bash\nbegin=$EPOCHREALTIME\n{{ {boot}; }} > /run/output 2>&1\n\
         echo $begin $EPOCHREALTIME\n"
    );
    machine.write("/run/boot", &script)?;
    let mut command = machine.command(&["timeout", "--kill-after=5", "120", "/run/boot"]);
    cpu.bind_command(&mut command);
    let printed = mezame_tests::process::output(&mut command)?;
    let is_done = ["/srv/configured", "/etc/app/settings", "/home/ada/.ssh/authorized_keys"]
        .iter()
        .all(|path| machine.path(path).exists());
    let output = || machine.read("/run/output").unwrap_or_default();
    ensure!(is_done, "{boot} did not configure the guest: {}", output());
    let times: Vec<f64> = printed.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let [begin, end] = times[..] else { bail!("no times in {printed:?}") };
    Ok((end - begin) * 1e3)
}
