//! Growing the root partition and its file system to the end of the disk.
//!
//! Where they are is read from /proc and /sys; the work is done by growpart(1) or sfdisk(8), and
//! by the file system's own tool. Each of these does nothing where there is nothing to grow.

use std::{fs, path::Path, time::Duration};

use super::{Linux, program};
use crate::platform::{Change, PlatformError, Result};

const TIMEOUT: Duration = Duration::from_secs(600);

pub(super) fn grow(linux: &Linux, partition: bool, filesystem: bool) -> Result<Change> {
    if !linux.live {
        return Err(PlatformError::Unsupported { what: "no disk is grown in a rehearsal" });
    }
    let mounts = fs::read_to_string("/proc/self/mounts")
        .map_err(|source| PlatformError::File { path: "/proc/self/mounts".into(), source })?;
    let Some((device, kind)) = root_mount(&mounts) else {
        return Err(PlatformError::Unsupported { what: "the root is not on a disk" });
    };
    let mut change = Change::Same;
    if partition && let Some((disk, number)) = parent_disk(&device) {
        change = change.and(grow_partition(linux, &disk, number, &device)?);
    }
    if filesystem {
        grow_filesystem(linux, &device, &kind)?;
    }
    Ok(change)
}

/// The device and type of the newest mount on `/`.
fn root_mount(mounts: &str) -> Option<(String, String)> {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (place == "/" && device.starts_with("/dev/")).then(|| (device.into(), kind.into()))
        })
        .next_back()
}

/// The disk that a partition is on, and its number: /sys/class/block/vda1 lies below …/vda/.
fn parent_disk(device: &str) -> Option<(String, u32)> {
    let real = fs::canonicalize(device).ok()?;
    let name = real.file_name()?.to_str()?;
    let sys = fs::canonicalize(Path::new("/sys/class/block").join(name)).ok()?;
    let number = fs::read_to_string(sys.join("partition")).ok()?.trim().parse().ok()?;
    let disk = sys.parent()?.file_name()?.to_str()?;
    Some((format!("/dev/{disk}"), number))
}

fn grow_partition(linux: &Linux, disk: &str, number: u32, device: &str) -> Result<Change> {
    let size = || fs::metadata(device).ok().and_then(|_| sectors(device));
    let before = size();
    let text = number.to_string();
    if let Some(growpart) = linux.tool("growpart") {
        // Status 1 says "nothing to grow".
        match program::tool(&growpart, &[disk, &text], TIMEOUT) {
            Err(PlatformError::Tool { detail, .. }) if detail.contains("NOCHANGE") => {}
            other => other?,
        }
    } else if let Some(sfdisk) = linux.tool("sfdisk") {
        // ", +": the same start, as long as there is room (sfdisk(8)).
        program::check_with(&sfdisk, &["--no-reread", "--force", "-N", &text, disk], b", +\n")?;
        if let Some(partx) = linux.tool("partx") {
            program::tool(&partx, &["--update", "--nr", &text, disk], TIMEOUT)?;
        }
    } else {
        return Err(PlatformError::NoTool { tool: "growpart or sfdisk" });
    }
    Ok(if size() == before { Change::Same } else { Change::Changed })
}

fn sectors(device: &str) -> Option<u64> {
    let real = fs::canonicalize(device).ok()?;
    let name = real.file_name()?;
    let text = fs::read_to_string(Path::new("/sys/class/block").join(name).join("size")).ok()?;
    text.trim().parse().ok()
}

fn grow_filesystem(linux: &Linux, device: &str, kind: &str) -> Result<()> {
    let (tool, arguments): (&'static str, Vec<&str>) = match kind {
        "ext2" | "ext3" | "ext4" => ("resize2fs", vec![device]),
        "xfs" => ("xfs_growfs", vec!["/"]),
        "btrfs" => ("btrfs", vec!["filesystem", "resize", "max", "/"]),
        _ => {
            let what = "this kind of file system can't be grown";
            return Err(PlatformError::Unsupported { what });
        }
    };
    let path = linux.tool(tool).ok_or(PlatformError::NoTool { tool })?;
    program::tool(&path, &arguments, TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_mount_on_the_root_counts_and_only_one_from_a_disk() {
        let mounts =
            "rootfs / rootfs rw 0 0\n/dev/vda1 / ext4 rw,relatime 0 0\nproc /proc proc rw 0 0\n";
        assert_eq!(root_mount(mounts), Some(("/dev/vda1".into(), "ext4".into())));
        assert_eq!(root_mount("tmpfs / tmpfs rw 0 0\n"), None);
    }
}
