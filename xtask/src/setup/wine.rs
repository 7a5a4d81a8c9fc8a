//! A Windows for tests: Wine's own files and registry, made once and never written to afterwards.
//!
//! What `wineboot` makes takes half a minute and 700 MB, so the tests share it below a layer of their
//! own. It is made without a display, in a home directory of its own, and its server has ended when
//! it is put into the cache.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{apt, cache::Cache, progress::Step};

const NAME: &str = "wine";
const PROGRAMS: &str = "/usr/lib/wine";

/// Builds `wine/prefix`, unless what is there was made by the same Wine.
pub(crate) fn build(cache: &Cache) -> Result<()> {
    let version = apt::output(Command::new("dpkg-query").args(["-W", "-f=${Version}", "wine64"]))?;
    let marker = cache.path(NAME).join("made-by");
    if fs::read_to_string(marker).is_ok_and(|there| there == version) {
        return Ok(());
    }
    let step = Step::begin(NAME);
    step.line("a Windows by Wine is made in the cache, for tests of the agent (700 MB)");
    cache.install(NAME, |into| {
        let prefix = into.join("prefix");
        step.run(wine(&prefix, "wine64").args(["wineboot", "--init"]), |line| step.note(line))?;
        // Until the last of its processes has ended, and the registry is on the disk.
        step.run(wine(&prefix, "wineserver64").arg("--wait"), |line| step.note(line))?;
        forget_sockets(&prefix)?;
        fs::write(into.join("made-by"), &version).context("writing what Wine made it")
    })?;
    step.done("made");
    Ok(())
}

/// Where there is no runtime directory, Debian's Wine makes one below `/tmp` for its sockets and
/// notes its name in the prefix: both are of the server that has just ended.
fn forget_sockets(prefix: &Path) -> Result<()> {
    let note = prefix.join("wineserver");
    let Ok(name) = fs::read_to_string(&note) else { return Ok(()) };
    fs::remove_file(&note).context("removing the note of Wine's sockets")?;
    if name.starts_with("wine-") && !name.contains('/') {
        // What is not there, or another Wine's by now, is no fault of the prefix.
        let _ = fs::remove_dir_all(Path::new("/tmp").join(name));
    }
    Ok(())
}

/// One of Wine's programs on a prefix.
fn wine(prefix: &Path, program: &str) -> Command {
    let programs = Path::new(PROGRAMS);
    let mut command = Command::new(programs.join(program));
    command
        .env_remove("DISPLAY")
        .env("HOME", prefix.parent().unwrap_or(prefix))
        .env("WINEPREFIX", prefix)
        .env("WINESERVER", programs.join("wineserver64"))
        .env("WINEDEBUG", "-all")
        // Neither .NET nor a browser, which it would want to fetch, and no menus.
        .env("WINEDLLOVERRIDES", "mscoree=;mshtml=;winemenubuilder.exe=");
    command
}
