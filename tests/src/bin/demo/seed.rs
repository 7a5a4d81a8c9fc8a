//! The seed of the demo: `examples/two-tenants`, with fresh keys and passwords in it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use mezame_tests::{process, ssh::Key};

const EXAMPLE_A: &str = include_str!("../../../../examples/two-tenants/tenant-a.yaml");
const EXAMPLE_B: &str = include_str!("../../../../examples/two-tenants/tenant-b.yaml");
const EXAMPLE_SCRIPT: &str = include_str!("../../../../examples/two-tenants/configure.sh");

/// The address and the MAC that both guests have, as the example says.
pub(crate) const ADDRESS: &str = "192.168.0.10";
/// See [`ADDRESS`].
pub(crate) const MAC: &str = "52:54:00:c0:ff:ee";
/// Where the tenants' own machines are.
pub(crate) const TENANT_ADDRESS: &str = "192.168.0.1/24";
/// The user with the password.
pub(crate) const USER: &str = "operator";

/// A tenant of the example.
pub(crate) struct TenantSeed {
    /// Its project.
    pub(crate) project: &'static str,
    /// Its network's.
    pub(crate) vni: u32,
    /// Its guest.
    pub(crate) instance: &'static str,
    /// The tap of its guest's port.
    pub(crate) device: &'static str,
    /// Its key.
    pub(crate) key: Key,
    /// Its user's password.
    pub(crate) password: String,
}

/// The seed in a directory of the lab.
pub(crate) struct Seed {
    directory: PathBuf,
    /// Both tenants.
    pub(crate) tenants: [TenantSeed; 2],
}

impl Seed {
    /// Copies the example, and puts keys and passwords of this run into it.
    pub(crate) fn prepare(lab: &Path) -> Result<Self> {
        let directory = lab.join("seed");
        fs::create_dir(&directory).context("making the seed's directory")?;
        fs::write(directory.join("configure.sh"), EXAMPLE_SCRIPT)
            .context("writing the example's script")?;
        let tenant = |example, project, vni, instance, device| -> Result<TenantSeed> {
            let key = Key::generate(lab, project)?;
            let password = random_password()?;
            let file = format!("{project}.yaml");
            let text = with_secrets(example, &key.public()?, &hash_of(&password)?)?;
            fs::write(directory.join(&file), text).context("writing the seed")?;
            Ok(TenantSeed { project, vni, instance, device, key, password })
        };
        let tenants = [
            tenant(EXAMPLE_A, "tenant-a", 1000, "web-a", "tap-tenant-a")?,
            tenant(EXAMPLE_B, "tenant-b", 2000, "web-b", "tap-tenant-b")?,
        ];
        Ok(Self { directory, tenants })
    }

    /// The directory to apply.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds a line to the keys of a tenant's guest.
    pub(crate) fn add_key(&mut self, tenant: usize, line: &str) -> Result<()> {
        let path = self.directory.join(format!("{}.yaml", self.tenants[tenant].project));
        let text = fs::read_to_string(&path).context("reading the seed")?;
        let own = self.tenants[tenant].key.public()?;
        let both = text.replace(&format!("  - {own}"), &format!("  - {own}\n  - {line}"));
        ensure!(both != text, "the seed has lost its key");
        fs::write(&path, both).context("writing the seed")
    }
}

/// The example with this key in place of its own, and this hash.
fn with_secrets(example: &str, key: &str, hash: &str) -> Result<String> {
    let (mut keys, mut hashes) = (0, 0);
    let mut text = String::new();
    for line in example.lines() {
        if line.trim_start().starts_with("- ssh-ed25519 ") {
            keys += 1;
            text += &format!("  - {key}\n");
        } else if line.trim_start().starts_with("password: {hash: ") {
            hashes += 1;
            text += &format!("    password: {{hash: \"{hash}\"}}\n");
        } else {
            text += line;
            text.push('\n');
        }
    }
    ensure!((keys, hashes) == (1, 1), "the example has {keys} keys and {hashes} hashes");
    Ok(text)
}

fn random_password() -> Result<String> {
    let mut bytes = [0; 12];
    std::io::Read::read_exact(
        &mut fs::File::open("/dev/urandom").context("opening /dev/urandom")?,
        &mut bytes,
    )
    .context("reading /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash_of(password: &str) -> Result<String> {
    let hash =
        process::output(process::command("busybox").args(["mkpasswd", "-m", "sha512", password]))?;
    Ok(hash.trim().to_owned())
}
