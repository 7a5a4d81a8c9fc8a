//! The disk and the clock, by the system's own programs: `diskpart`, `tzutil` and `w32tm`.

use std::{fs, path::Path};

use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;

use super::{
    registry::Registry,
    script,
    wide::{succeeded, wide},
};
use crate::{
    platform::{Change, PlatformError, Result},
    step::Ntp,
};

/// Where the time service keeps its servers.
const TIME: &str = r"SYSTEM\CurrentControlSet\Services\W32Time\Parameters";

/// Grows the system's volume, with its file system, into the free space behind it. A partition that
/// stands in between (a recovery one, say) is left alone, and so nothing grows.
pub(super) fn grow_system_volume(state: &Path) -> Result<Change> {
    let root = super::super::root();
    let before = size(&root)?;
    let letter = root.display().to_string().trim_end_matches([':', '\\']).to_owned();
    let path = state.join("extend.txt");
    let words = format!("rescan\r\nselect volume {letter}\r\nextend noerr\r\n");
    let failed = |source| PlatformError::File { path: path.clone(), source };
    fs::write(&path, words).map_err(failed)?;
    let ran = script::tool("diskpart.exe", &["/s", &path.display().to_string()]);
    let _ = fs::remove_file(&path);
    ran?;
    Ok(if size(&root)? == before { Change::Same } else { Change::Changed })
}

/// In bytes.
fn size(root: &Path) -> Result<u64> {
    let name = wide(root);
    let mut total = 0;
    // SAFETY: a text that ends with a zero, and a place for one of three numbers.
    succeeded(unsafe {
        GetDiskFreeSpaceExW(name.as_ptr(), std::ptr::null_mut(), &mut total, std::ptr::null_mut())
    })
    .map_err(|source| PlatformError::File { path: root.into(), source })?;
    Ok(total)
}

/// Sets the time zone, by the name that Windows has for it.
pub(super) fn set_timezone(zone: &str) -> Result<Change> {
    if zone.contains('/') {
        let why = "Windows has names of its own, such as Tokyo Standard Time: see `tzutil /l`";
        return Err(PlatformError::Invalid { what: "time zone", why: why.into() });
    }
    if script::tool("tzutil.exe", &["/g"])?.trim() == zone {
        return Ok(Change::Same);
    }
    script::tool("tzutil.exe", &["/s", zone])?;
    Ok(Change::Changed)
}

/// Has the time service follow these servers.
pub(super) fn set_ntp(registry: &Registry, ntp: &Ntp) -> Result<Change> {
    // 0x8: as a client; else it would ask as an equal (Microsoft, "Windows Time service tools").
    let all: Vec<String> =
        ntp.servers.iter().chain(&ntp.pools).map(|server| format!("{server},0x8")).collect();
    let list = all.join(" ");
    let known = registry.open(TIME).ok().flatten();
    let known = known.and_then(|key| key.text("NtpServer").ok().flatten());
    if known.as_deref() == Some(&list) {
        return Ok(Change::Same);
    }
    let peers = format!("/manualpeerlist:{list}");
    script::tool("w32tm.exe", &["/config", &peers, "/syncfromflags:manual", "/update"])?;
    Ok(Change::Changed)
}
