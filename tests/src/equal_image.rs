//! What makes of two copies of the clients' root two equal images, one with cloud-init and one with
//! the agent: the same default user, and off in one what the other does not do unasked.
//!
//! Both programs are in both copies; which of them runs is the caller's affair.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use anyhow::{Context, Result};

use crate::client_machine::ClientMachine;

/// The image's half of cloud-init's settings.
const CLOUD_CFG: &str = r#"# The one that both read from.
datasource_list: [NoCloud]
# A default user as the agent makes one.
system_info:
  default_user:
    {name: debian, lock_passwd: true, gecos: "", groups: [], shell: /bin/sh,
     sudo: ["ALL=(ALL:ALL) NOPASSWD:ALL"]}
# The agent writes a line for the host's own name unless it is told not to.
manage_etc_hosts: localhost
# What the agent does only when it is asked to, or leaves to the image.
growpart: {mode: "off"}
resize_rootfs: false
locale: false
grub_dpkg: {enabled: false}
ssh_deletekeys: false
ssh_genkeytypes: [ed25519]
# Addresses are not what is compared.
network: {config: disabled}
"#;

/// The image's half of the agent's.
const SETTINGS: &str = "default_user: debian\n";

/// All of cloud-init's stages, in the order in which the image's units start them, for a shell. A
/// stage that complains of something keeps none of the others from starting.
pub const STAGES: &str = "cloud-init init --local; cloud-init init; \
                          cloud-init modules --mode=config; cloud-init modules --mode=final";

/// Makes a copy such an image, with these lines more in the agent's settings.
pub fn furnish(machine: &ClientMachine, agent: &Path, settings: &str) -> Result<()> {
    for directory in ["/etc/mezame", "/run/sshd"] {
        fs::create_dir_all(machine.path(directory)).context("making the image's directories")?;
    }
    fs::write(machine.path("/etc/hostname"), "image\n").context("naming the image")?;
    fs::set_permissions(machine.path("/etc/hostname"), fs::Permissions::from_mode(0o644))
        .context("opening the image's name")?;
    machine.write("/etc/mezame/guest-agent.yaml", &format!("{SETTINGS}{settings}"))?;
    machine.write("/etc/cloud/cloud.cfg.d/99_equal.cfg", CLOUD_CFG)?;
    fs::copy(agent, machine.path("/usr/sbin/guest-agent"))
        .with_context(|| format!("copying {}", agent.display()))?;
    Ok(())
}
