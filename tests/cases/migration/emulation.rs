//! A case anew where QEMU's emulation has lost a guest's memory, which is none of a move's doing.
//!
//! Where processors are emulated, QEMU 7.2 may take a page for unchanged that the guest changes while
//! changes are looked for. Seen with bare QEMU, without anything of ours: of fourteen guests that were moved
//! after five to twenty-eight looks eleven crashed or stood still, and none of 22 after two to four.
//! With KVM the kernel keeps the books, and nothing of this is known.
//!
//! A fault of ours that harms a guest each time shows all the same; a rare one would be taken for this.

use std::{error::Error, fmt, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use mezame_tests::{process::Background, wait};

/// How often a case is begun.
const ATTEMPTS: u32 = 8;

/// What Linux, or its last process, says when its memory is not what it was.
const SIGNS: [&str; 7] = [
    "BUG",
    "Kernel panic",
    "Oops",
    "corruption",
    "invalid opcode",
    "segfault",
    "general protection",
];

/// How long a guest that has moved may say nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// A guest that runs where it has moved to, and neither writes nor says that it has crashed.
#[derive(Debug)]
struct Silent;

impl fmt::Display for Silent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("the guest that has moved stands still")
    }
}

impl Error for Silent {}

/// Waits until a guest that has moved writes; an error where it has crashed.
pub(crate) fn until_it_writes(guest: &mut Background) -> Result<()> {
    let heard = wait::until("a sign of the guest that has moved", SILENCE, || {
        let (is_over, log) = (guest.ended()?.is_some(), guest.log());
        ensure!(is_over || log.contains("ACK") || has_crashed(&log), "it says nothing");
        Ok(())
    });
    heard.map_err(|_| Silent)?;
    ensure!(!has_crashed(&guest.log()), "the guest has crashed");
    Ok(())
}

/// Whether a guest's memory is not what it was, by what is on its console.
fn has_crashed(console: &str) -> bool {
    SIGNS.iter().any(|sign| console.contains(sign))
}

/// Runs a case, and once more where a guest has crashed, by what its error says or by the consoles in the
/// directory that it is given.
pub(crate) fn retried(case: impl Fn(&Path) -> Result<()>) -> Result<()> {
    for attempt in 1.. {
        let consoles = tempfile::tempdir()?;
        let Err(error) = case(consoles.path()) else { return Ok(()) };
        let said = has_crashed(&format!("{error:#}"));
        let is_lost = said || error.is::<Silent>() || any_crashed(consoles.path())?;
        if attempt == ATTEMPTS || !is_lost {
            return Err(error).with_context(|| format!("at attempt {attempt}"));
        }
        println!("attempt {attempt}: the guest has crashed in QEMU's emulation: {error:#}");
    }
    Ok(())
}

fn any_crashed(consoles: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(consoles)? {
        if has_crashed(&String::from_utf8_lossy(&std::fs::read(entry?.path())?)) {
            return Ok(true);
        }
    }
    Ok(false)
}
