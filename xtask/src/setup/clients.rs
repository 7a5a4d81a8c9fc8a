//! The clients' Debian: cloud-init and other clouds' clients, unpacked and never installed here.
//!
//! On a machine these packages would enable their services and configure it for a cloud. So they
//! get a root of their own in the cache, which the tests mount below a layer in memory. Those that
//! are not in Debian come from PyPI, each of one version and one hash, into `/opt/clients` of it.
//! Nothing in them is edited.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{bootstrap, cache::Cache, progress::Step};

const NAME: &str = "clients";

/// Builds `clients/root` in the cache, unless what is there was made of the same recipe.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    let recipe = crate::workspace().join("images/recipes/clients");
    let read = |name: &str| {
        let path = recipe.join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    };
    let packages = bootstrap::lines(&read("packages")?).collect::<Vec<_>>().join(",");
    let made_of = format!("{packages}\n{}", read("requirements.txt")?);
    if fs::read_to_string(cache.path(NAME).join("made-of")).is_ok_and(|there| there == made_of) {
        return Ok(());
    }
    let step = Step::begin("clients");
    step.line("Debian 12 with the clouds' own clients is built into the cache, to be run in tests");
    cache.install(NAME, |into| {
        let root = into.join("root");
        bootstrap::bootstrap(&root, &packages, [], &step)?;
        add_from_pypi(&into.join("pip"), &root, &recipe.join("requirements.txt"), &step)?;
        fs::write(into.join("made-of"), &made_of).context("writing what the clients are made of")
    })?;
    step.done("built");
    Ok(())
}

/// Adds what the requirements name to the root, with a pip that is thrown away afterwards. Both
/// Pythons are Debian 12's, so that wheels for the one fit the other.
fn add_from_pypi(environment: &Path, root: &Path, requirements: &Path, step: &Step) -> Result<()> {
    step.note("making a Python environment");
    let mut venv = Command::new("/usr/bin/python3");
    step.run(venv.args(["-m", "venv"]).arg(environment), |line| step.note(line))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--require-hashes", "--only-binary", ":all:", "--no-deps"])
        .args(["--disable-pip-version-check", "--root-user-action", "ignore"])
        // The machine's own, as everything else here that reaches a registry.
        .args(["--cert", "/etc/ssl/certs/ca-certificates.crt", "--target"])
        .arg(root.join("opt/clients"))
        .arg("--requirement")
        .arg(requirements);
    step.run(&mut pip, |line| step.note(line))?;
    fs::remove_dir_all(environment).context("removing the Python environment")
}
