//! The clients' Debians: cloud-init and other clouds' clients in one, DHCP clients in another,
//! network services in the third, and shells and downloaders for the agent that is a script in the fourth;
//! unpacked and never installed here.
//!
//! On a machine these packages would enable their services and configure it for a cloud, or take
//! over its network. So they get roots of their own in the cache, which the tests mount below a
//! layer in memory. Those that are not in Debian come from PyPI, each of one version and one hash,
//! into `/opt/clients`. Nothing in them is edited.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{bootstrap, cache::Cache, progress::Step, pypi};

/// The clouds' clients, DHCP's, what keeps a guest's network settings, what the shell agent runs in
/// and by, and what the firewall is made of.
const ROOTS: [(&str, &str); 5] = [
    ("clients", "the clouds' own clients"),
    ("dhcp-clients", "DHCP clients"),
    ("renderers", "network services"),
    ("shells", "shells and downloaders"),
    ("firewall-programs", "the firewall's programs"),
];

/// Builds the roots in the cache.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    ROOTS.into_iter().try_for_each(|(name, whose)| build_one(cache, name, whose))
}

/// Builds `NAME/root`, unless what is there was made of the same recipe.
fn build_one(cache: &Cache, name: &str, whose: &str) -> Result<()> {
    let recipe = crate::workspace().join("images/recipes").join(name);
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let packages = read(&recipe.join("packages"))?;
    let packages = bootstrap::lines(&packages).collect::<Vec<_>>().join(",");
    let requirements = Some(recipe.join("requirements.txt")).filter(|path| path.exists());
    let from_pypi = requirements.as_deref().map(read).transpose()?.unwrap_or_default();
    let made_of = format!("{packages}\n{from_pypi}");
    if fs::read_to_string(cache.path(name).join("made-of")).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let step = Step::begin(name);
    step.line(&format!("Debian 12 with {whose} is built into the cache, to be run in tests"));
    cache.install(name, |into| {
        let root = into.join("root");
        bootstrap::bootstrap(&root, &packages, [], &step)?;
        if let Some(requirements) = &requirements {
            let target = root.join("opt/clients");
            pypi::add(&into.join("pip"), &target, requirements, &step)?;
        }
        fs::write(into.join("made-of"), &made_of).context("writing what the clients are made of")
    })?;
    step.done("built");
    Ok(())
}
