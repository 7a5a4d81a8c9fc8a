//! What lies pinned in a BPF file system, counted from outside: with bpf(2) and /proc, and with
//! nothing of the code under test.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use anyhow::{Context, Result};
use nix::libc;

/// linux/bpf.h: `enum bpf_cmd`.
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const OBJ_GET: libc::c_long = 7;

/// linux/bpf.h: the kinds of maps whose entries come and go.
const HASH: &str = "1";
const LPM_TRIE: &str = "11";

/// How much lies pinned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Files in all: maps and links.
    pub files: usize,
    /// The number of entries of each hash map and trie.
    pub entries: BTreeMap<String, usize>,
}

/// Counts what lies pinned below a directory.
pub fn pinned(directory: &Path) -> Result<Pinned> {
    let mut found = Pinned { files: 0, entries: BTreeMap::new() };
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))? {
            let path = entry.context("reading a BPF file system")?.path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            found.files += 1;
            let object = open(&path)?;
            let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))
                .context("reading about a BPF object")?;
            let field = |name: &str| {
                about.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
            };
            if !field("map_type:").is_some_and(|kind| kind == HASH || kind == LPM_TRIE) {
                continue;
            }
            let size = field("key_size:").context("a map without a key size")?;
            let entries = count(&object, size.parse().context("a key's size")?)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.entries.insert(name, entries);
        }
    }
    Ok(found)
}

fn open(path: &Path) -> Result<OwnedFd> {
    /// `union bpf_attr`, for BPF_OBJ_GET.
    #[repr(C)]
    struct Get {
        path: u64,
        descriptor: u32,
        flags: u32,
    }
    let name = CString::new(path.as_os_str().as_bytes()).context("a path without NUL")?;
    let mut get = Get { path: name.as_ptr().expose_provenance() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the attribute and the path in it outlive the call.
    let descriptor =
        unsafe { libc::syscall(libc::SYS_bpf, OBJ_GET, &raw mut get, size_of::<Get>()) };
    let descriptor = nix::errno::Errno::result(descriptor)
        .with_context(|| format!("opening {}", path.display()))?;
    let descriptor = i32::try_from(descriptor).context("a descriptor fits 32 bits")?;
    // SAFETY: the kernel has just given it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn count(map: &OwnedFd, key_size: usize) -> Result<usize> {
    /// `union bpf_attr`, for BPF_MAP_GET_NEXT_KEY.
    #[repr(C)]
    struct Next {
        map: u32,
        padding: u32,
        key: u64,
        next: u64,
    }
    let mut key = vec![0u8; key_size];
    let mut next_key = vec![0u8; key_size];
    let mut number = 0;
    loop {
        // Without a key: the first one.
        let from = if number == 0 { 0 } else { key.as_ptr().expose_provenance() as u64 };
        let mut next = Next {
            map: map.as_raw_fd().unsigned_abs(),
            padding: 0,
            key: from,
            next: next_key.as_mut_ptr().expose_provenance() as u64,
        };
        // SAFETY: attribute and keys outlive the call; the keys have the map's key size.
        let answer = unsafe {
            libc::syscall(libc::SYS_bpf, MAP_GET_NEXT_KEY, &raw mut next, size_of::<Next>())
        };
        if answer == 0 {
            number += 1;
            std::mem::swap(&mut key, &mut next_key);
            continue;
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ENOENT) {
            return Ok(number);
        }
        return Err(error).context("walking through a map");
    }
}
