//! Whether the agent's crate compiles for NetBSD and FreeBSD.
//!
//! It is compiled as far as code generation and no further: linking wants those systems' own
//! libraries, which are not to be had here. So nothing of it is run either. What runs on the BSDs
//! is `guest-agent/shell/guest-agent.sh`.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::{debian_rust, kept::Kept};

/// The systems, as rustc names them.
const TARGETS: [&str; 2] = ["x86_64-unknown-netbsd", "x86_64-unknown-freebsd"];

/// `cargo xtask bsd`: compiles it for each, with the standard library from its source.
pub(crate) fn check(root: &Path) -> Result<()> {
    let kept = Kept::open("bsd")?;
    for target in TARGETS {
        let status = debian_rust::cargo("check")
            .current_dir(root)
            .args(["--locked", "--package", "guest-agent", "--target", target])
            .args(["-Z", "build-std=std,panic_abort"])
            .env("CARGO_TARGET_DIR", kept.directory())
            .status()
            .with_context(|| format!("running {}", debian_rust::CARGO))?;
        ensure!(status.success(), "guest-agent does not compile for {target} ({status})");
    }
    Ok(())
}
