//! The few calls of bpf(2) that aya does not have: links by interface index (aya takes names,
//! which may change hands in between), where a link is, and the key after a key.
//!
//! Layouts follow `union bpf_attr` in linux/bpf.h; a shorter attribute than the kernel's stands
//! for zeroes.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_TCX_INGRESS: u32 = 46;
/// Before the program named, which is none: first of all.
const BPF_F_BEFORE: u32 = 1 << 3;

/// # Safety
/// `attr` is laid out as the command wants it, and the pointers in it are valid for the call.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attribute lives through the call and its size is told; the rest is promised by
    // the caller.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: libc::c_long) -> OwnedFd {
    // SAFETY: only called with the new descriptor that a call just returned.
    unsafe { OwnedFd::from_raw_fd(result as RawFd) }
}

#[repr(C)]
struct LinkCreate {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    revision: u64,
}

/// Attaches a program first of all to the ingress of a device of this network namespace.
pub(crate) fn create_link(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let mut attr = LinkCreate {
        program: program.as_raw_fd() as u32,
        ifindex,
        attach_type: BPF_TCX_INGRESS,
        flags: BPF_F_BEFORE,
        relative: 0,
        padding: 0,
        revision: 0,
    };
    // SAFETY: `bpf_attr.link_create`; no pointers.
    unsafe { bpf(BPF_LINK_CREATE, &mut attr) }.map(owned)
}

/// Puts another program in a link's place, atomically.
pub(crate) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = [link.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0];
    // SAFETY: `bpf_attr.link_update`: link, new program, flags, old program; no pointers.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches a link for everybody who holds it.
pub(crate) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = [link.as_raw_fd() as u32];
    // SAFETY: `bpf_attr.link_detach`; no pointers.
    match unsafe { bpf(BPF_LINK_DETACH, &mut attr) } {
        // Its device is gone, and so is what it was attached to.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
        result => result.map(drop),
    }
}

#[repr(C)]
struct Info {
    fd: u32,
    length: u32,
    info: u64,
}

/// `bpf_link_info`, as far as tcx fills it.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    ifindex: u32,
    attach_type: u32,
    rest: [u64; 8],
}

/// Where a tcx link is, and the id of its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkPlace {
    /// 0 once the device is gone.
    pub(crate) ifindex: u32,
    pub(crate) program: u32,
}

/// Looks where a tcx link is.
pub(crate) fn link_place(link: BorrowedFd<'_>) -> io::Result<LinkPlace> {
    let mut info = LinkInfo::default();
    let mut attr = Info {
        fd: link.as_raw_fd() as u32,
        length: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: `bpf_attr.info`; the pointer is to a buffer of the length told.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(LinkPlace { ifindex: info.ifindex, program: info.program })
}

#[repr(C)]
struct ObjectPath {
    path: u64,
    fd: u32,
    flags: u32,
}

fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// Opens what is pinned at a path.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let name = c_path(path)?;
    let mut attr = ObjectPath { path: name.as_ptr() as u64, fd: 0, flags: 0 };
    // SAFETY: `bpf_attr` for objects; the path is a C string that lives through the call.
    unsafe { bpf(BPF_OBJ_GET, &mut attr) }.map(owned)
}

/// Pins an object at a path.
pub(crate) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    let fd = object.as_raw_fd() as u32;
    let mut attr = ObjectPath { path: name.as_ptr() as u64, fd, flags: 0 };
    // SAFETY: `bpf_attr` for objects; the path is a C string that lives through the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

#[repr(C)]
struct NextKey {
    map: u32,
    padding: u32,
    key: u64,
    next: u64,
}

/// The key after a key of a map whose keys are `K`; the first one where the map has no such key.
///
/// # Safety
/// `K` is plain, and as long as the map's keys.
pub(crate) unsafe fn next_key<K: Copy>(map: impl AsFd, key: &K) -> io::Result<Option<K>> {
    let mut next = *key;
    let mut attr = NextKey {
        map: map.as_fd().as_raw_fd() as u32,
        padding: 0,
        key: std::ptr::from_ref(key) as u64,
        next: std::ptr::from_mut(&mut next) as u64,
    };
    // SAFETY: `bpf_attr` for map elements; both pointers are to keys, as the caller promises.
    match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut attr) } {
        Ok(_) => Ok(Some(next)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[repr(C)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// Asks what is attached to the loopback device, only to learn whether there is tcx at all.
pub(crate) fn query_tcx() -> io::Result<()> {
    const LOOPBACK: u32 = 1;
    let mut attr = Query {
        ifindex: LOOPBACK,
        attach_type: BPF_TCX_INGRESS,
        query_flags: 0,
        attach_flags: 0,
        ids: 0,
        count: 0,
        padding: 0,
    };
    // SAFETY: `bpf_attr.query`; a null pointer with a count of 0.
    match unsafe { bpf(BPF_PROG_QUERY, &mut attr) } {
        // More than fit into a count of 0.
        Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => Ok(()),
        // Nothing is attached there.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop),
    }
}
