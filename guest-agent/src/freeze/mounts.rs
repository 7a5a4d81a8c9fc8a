//! Which file systems are frozen and in which order, out of `/proc/self/mountinfo`.
//!
//! Those on a block device, and btrfs, that can be written to: no network, memory or overlay file
//! system, which hold nothing of their own on a disk of this guest. What lies on a disk and is not
//! frozen, as ZFS, or what no path leads to, is named. Each once, however often it is
//! mounted. The one mounted last is frozen first: where one lies in a file of another (a loop
//! device), it writes to that one as it is frozen.
//!
//! After proc_pid_mountinfo(5).

/// The most file systems that are frozen: more are no guest of ours.
pub const MOST: usize = 256;

/// The most that are named which are passed over.
const MOST_NAMED: usize = 32;
/// How deep mounts may lie in one another.
const DEEPEST: usize = 128;
/// Kinds that lie on disks or flash without a block device of their own. A file system of ZFS's is one
/// of perhaps thousands in a pool, and none of them can be frozen.
const OTHERS: [&str; 4] = ["zfs", "bcachefs", "ubifs", "btrfs"];

/// A file system that is mounted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// Where.
    pub path: String,
    /// Its device, as the kernel counts: major and minor.
    pub device: (u32, u32),
    /// Such as `ext4`.
    pub kind: String,
}

/// What of a guest's file systems is frozen, and what is not though it is on a disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// What is to be frozen, in that order.
    pub to_freeze: Vec<Mount>,
    /// What is passed over, each with why.
    pub passed_over: Vec<String>,
}

/// A line of mountinfo.
struct Line {
    id: u32,
    parent: u32,
    mount: Mount,
    part: Part,
}

/// What a file system has to do with this guest's disks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// It is frozen.
    Frozen,
    /// It lies on a disk, and nobody has seen that it can be frozen.
    Other,
    /// It holds nothing of its own on a disk, or is not written to.
    None,
}

/// What there is.
pub fn find(mountinfo: &str) -> Found {
    let lines: Vec<Line> = mountinfo.lines().filter_map(parse).collect();
    let mut to_freeze: Vec<Mount> = Vec::new();
    let mut passed: Vec<(&Mount, &str)> = Vec::new();
    for line in lines.iter().filter(|line| line.part != Part::None) {
        let mount = &line.mount;
        match (is_visible(line, &lines), line.part) {
            (false, _) => passed.push((mount, "another file system hides it")),
            (true, Part::Other) => passed.push((mount, "it is of a kind that is not frozen")),
            // The first place of several counts: what lies in a file of it was mounted after that.
            _ if to_freeze.iter().any(|other| other.device == mount.device) => {}
            _ => to_freeze.push(mount.clone()),
        }
    }
    to_freeze.reverse();
    let mut passed_over: Vec<String> = Vec::new();
    let mut seen: Vec<(u32, u32)> = to_freeze.iter().map(|mount| mount.device).collect();
    for (Mount { path, device, kind }, why) in passed {
        // One that can be reached elsewhere is frozen there, or is named already.
        if !seen.contains(device) {
            seen.push(*device);
            passed_over.push(format!("{path} ({kind}): {why}"));
        }
    }
    if passed_over.len() > MOST_NAMED {
        let more = passed_over.len() - MOST_NAMED;
        passed_over.truncate(MOST_NAMED);
        passed_over.push(format!("and {more} more"));
    }
    Found { to_freeze, passed_over }
}

/// All places where a file system is mounted.
pub fn places(mountinfo: &str, of: &Mount) -> Vec<Mount> {
    let mounts = mountinfo.lines().filter_map(parse).map(|line| line.mount);
    mounts.filter(|it| (it.device, &it.kind) == (of.device, &of.kind)).collect()
}

/// Whether its path leads to it: nothing is mounted on it or on a directory above its place.
fn is_visible(line: &Line, lines: &[Line]) -> bool {
    !is_covered(line, lines) && is_reached(line, lines, DEEPEST)
}

/// Whether something is mounted on it, at its very place. The first of all is its own parent.
fn is_covered(line: &Line, lines: &[Line]) -> bool {
    let covers =
        |it: &Line| it.parent == line.id && it.id != line.id && it.mount.path == line.mount.path;
    lines.iter().any(covers)
}

fn is_reached(line: &Line, lines: &[Line], depth: usize) -> bool {
    let path = &line.mount.path;
    // What was mounted later, on a directory above its place.
    let hides = |it: &Line| {
        let below = path.strip_prefix(it.mount.path.trim_end_matches('/'));
        it.parent == line.parent
            && it.id != line.id
            && it.id != line.parent
            && it.mount.path.len() < path.len()
            && below.is_some_and(|below| below.starts_with('/'))
    };
    if depth == 0 || path.ends_with("//deleted") || lines.iter().any(hides) {
        return false;
    }
    match lines.iter().find(|it| it.id == line.parent && it.id != line.id) {
        None => true,
        Some(parent) if parent.mount.path == *path => is_reached(parent, lines, depth - 1),
        Some(parent) => !is_covered(parent, lines) && is_reached(parent, lines, depth - 1),
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut fields = line.split(' ');
    let (id, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let path = unescaped(fields.nth(1)?);
    let mut after = fields.skip_while(|field| *field != "-").skip(1);
    let (kind, source, options) = (after.next()?, after.next()?, after.next()?);
    let part = if options.split(',').any(|option| option == "ro") {
        Part::None
    } else if device.0 != 0 || (kind == "btrfs" && source.starts_with("/dev/")) {
        Part::Frozen
    } else if OTHERS.contains(&kind) || (source.starts_with("/dev/") && !kind.starts_with("fuse")) {
        Part::Other
    } else {
        Part::None
    };
    let mount = Mount { path, device, kind: kind.to_owned() };
    Some(Line { id, parent, mount, part })
}

/// Spaces, tabs, newlines and backslashes are `\` and three octal digits.
fn unescaped(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| *first == b'\\');
        let code = digits.and_then(|it| u8::from_str_radix(std::str::from_utf8(it).ok()?, 8).ok());
        match code {
            Some(code) => {
                out.push(code);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths(text: &str) -> Vec<String> {
        find(text).to_freeze.into_iter().map(|mount| mount.path).collect()
    }

    #[test]
    fn disks_are_frozen_the_last_mounted_first_and_nothing_else_is() {
        let text = "\
21 1 0:20 / /proc rw,nosuid - proc proc rw
24 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
25 24 0:22 / /run rw - tmpfs tmpfs rw,mode=755
26 24 8:16 / /srv/a\\040b rw - xfs /dev/vdb rw
27 24 7:0 / /mnt rw - ext4 /dev/loop0 rw
28 24 8:32 / /media ro - ext4 /dev/vdc ro
29 24 0:40 / /nfs rw - nfs4 10.0.0.1:/x rw
30 24 0:41 / /merged rw - overlay overlay rw,lowerdir=/a
31 24 0:42 / /data rw - btrfs /dev/vdd rw
32 24 254:3 /home /home ro shared:9 master:1 - ext4 /dev/mapper/home rw
";
        assert_eq!(paths(text), ["/home", "/data", "/mnt", "/srv/a b", "/"]);
    }

    #[test]
    fn one_that_is_mounted_twice_is_frozen_once_and_after_what_lies_in_it() {
        let text = "\
24 1 8:1 / / rw - ext4 /dev/vda1 rw
27 24 7:0 / /mnt rw - ext4 /dev/loop0 rw
28 24 8:1 /home /home rw - ext4 /dev/vda1 rw
";
        assert_eq!(paths(text), ["/mnt", "/"]);
    }

    #[test]
    fn one_that_is_hidden_by_another_is_not_taken_for_that() {
        let text = "\
24 1 8:1 / / rw - ext4 /dev/vda1 rw
27 24 8:2 / /mnt rw - ext4 /dev/vda2 rw
28 27 8:3 / /mnt rw - ext4 /dev/vda3 rw
";
        assert_eq!(paths(text), ["/mnt", "/"]);
        let found = find(text);
        assert_eq!(found.to_freeze[0].device, (8, 3));
        assert_eq!(found.passed_over, ["/mnt (ext4): another file system hides it"]);
    }

    #[test]
    fn what_is_hidden_by_one_above_it_or_lies_on_a_disk_in_another_way_is_named() {
        // As after a boot by an initrd: what is older than the root lies in it all the same.
        let text = "\
1 1 0:2 / / rw - rootfs rootfs rw
22 24 0:21 / /proc rw - proc proc rw
24 1 8:1 / / rw - ext4 /dev/vda1 rw
25 24 8:2 / /mnt/a rw - xfs /dev/vdb rw
26 24 0:50 / /mnt rw - tmpfs tmpfs rw
27 25 8:3 / /mnt/a/b rw - ext4 /dev/vdc rw
28 24 8:4 / /srv rw - ext4 /dev/vdd rw
29 24 8:4 / /mnt/srv rw - ext4 /dev/vdd rw
30 24 0:51 / /tank rw - zfs tank rw
31 24 0:52 / /cache rw - bcachefs /dev/vde:/dev/vdf rw
32 24 0:53 / /old ro - zfs tank/old ro
33 24 0:54 / /run/doc rw - fuse.portal /dev/fuse rw
34 24 8:5 /gone /x//deleted rw - ext4 /dev/vdg rw
35 24 8:6 / /mntb rw - ext4 /dev/vdh rw
";
        assert_eq!(paths(text), ["/mntb", "/srv", "/"]);
        let passed = find(text).passed_over;
        let hidden = ["/mnt/a (xfs)", "/mnt/a/b (ext4)"];
        let other = ["/tank (zfs)", "/cache (bcachefs)", "/x//deleted (ext4)"];
        let named: Vec<_> = passed.iter().map(|it| it.split_once(": ").unwrap().0).collect();
        assert_eq!(named, [&hidden[..], &other].concat());
        let many: String =
            (0..50).map(|at| format!("9{at} 1 0:9{at} / /{at} rw - zfs tank rw\n")).collect();
        let passed = find(&many).passed_over;
        assert_eq!((passed.len(), &*passed[32]), (33, "and 18 more"));
    }

    #[test]
    fn what_is_mounted_on_a_root_in_memory_is_frozen() {
        let text = "\
1 1 0:2 / / rw - rootfs rootfs rw
22 1 8:1 / /data rw - ext4 /dev/vda1 rw
";
        let path = "/data".to_owned();
        let data = Mount { path, device: (8, 1), kind: "ext4".into() };
        assert_eq!(find(text), Found { to_freeze: vec![data], passed_over: Vec::new() });
    }

    #[test]
    fn all_places_of_a_file_system_are_found() {
        let text = "\
24 1 8:1 / / rw - ext4 /dev/vda1 rw
27 24 8:2 / /mnt rw - ext4 /dev/vda2 rw
28 24 8:2 /a /srv rw - ext4 /dev/vda2 rw
";
        let of = Mount { path: "/gone".into(), device: (8, 2), kind: "ext4".into() };
        let places = places(text, &of);
        assert_eq!(places.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["/mnt", "/srv"]);
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[ -~\\n\\\\0-9:/]{0,200}|\\PC{0,100}") {
            find(&text);
        }

        #[test]
        fn mounts_that_lie_in_one_another_are_no_panic(
            lines in prop::collection::vec((0..6u32, 0..6u32, 0..3u32, 0..4usize), 0..12)
        ) {
            let place = |at: usize| ["/", "/a", "/a/b", "/a/b//deleted"][at];
            let line = |(id, parent, major, at)| {
                format!("{id} {parent} {major}:1 / {} rw - zfs /dev/x rw\n", place(at))
            };
            find(&lines.into_iter().map(line).collect::<String>());
        }
    }
}
