//! The machine's serial ports, by which programs on the hypervisor's side are told something.
//!
//! A port that nobody reads may take bytes for ever or not at all, so a write is waited for a while
//! and no longer. Speed and parity are left as they are: an emulated port has none. In a rehearsal
//! the port is a file below its root.

use std::{fs::OpenOptions, io, io::Write, path::Path, sync::mpsc, time::Duration};

use crate::platform::{PlatformError, Result};

/// How long a write may take.
const BOUND: Duration = Duration::from_secs(5);

/// Writes to the port of this name.
pub(super) fn write(port: &str, rehearsal: Option<&Path>, lines: &str) -> Result<()> {
    // The name of the device (Microsoft, "Naming Files, Paths, and Namespaces").
    let path = match rehearsal {
        Some(root) => root.join(format!("serial-{port}.txt")),
        None => format!(r"\\.\{port}").into(),
    };
    let (bytes, place) = (lines.as_bytes().to_vec(), path.clone());
    let is_file = rehearsal.is_some();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).append(is_file).create(is_file);
            options.open(&place)?.write_all(&bytes)
        };
        // Who has waited long enough hears it no more.
        let _ = tell.send(write());
    });
    let ended = told.recv_timeout(BOUND);
    ended
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| PlatformError::File { path, source })
}
