//! Which file systems are frozen and in which order, out of `/proc/self/mountinfo`.
//!
//! Those on a block device, and btrfs, that can be written to: no network, memory or overlay file
//! system, which hold nothing of their own on a disk of this guest. Each once, however often it is
//! mounted. The one mounted last is frozen first: where one lies in a file of another (a loop
//! device), it writes to that one as it is frozen.
//!
//! After proc_pid_mountinfo(5).

/// The most file systems that are frozen: more are no guest of ours.
pub const MOST: usize = 256;

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

/// What is to be frozen, in that order.
pub fn to_freeze(mountinfo: &str) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.lines().filter_map(parse) {
        // What lies over a mount point hides it: the same place is another file system then.
        mounts.retain(|other| other.path != mount.path || other.device == mount.device);
        // The first place of several counts: what lies in a file of it was mounted after that.
        if !mounts.iter().any(|other| other.device == mount.device) {
            mounts.push(mount);
        }
    }
    mounts.reverse();
    mounts
}

/// A line, where it is of a file system of this guest's disks that can be written to.
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let (major, minor) = fields.nth(2)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    let path = unescaped(fields.nth(1)?);
    let mut after = fields.skip_while(|field| *field != "-").skip(1);
    let (kind, source, options) = (after.next()?, after.next()?, after.next()?);
    let is_on_disk = device.0 != 0 || (kind == "btrfs" && source.starts_with("/dev/"));
    let is_read_only = options.split(',').any(|option| option == "ro");
    (is_on_disk && !is_read_only).then(|| Mount { path, device, kind: kind.to_owned() })
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
        to_freeze(text).into_iter().map(|mount| mount.path).collect()
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
        assert_eq!(to_freeze(text)[0].device, (8, 3));
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[ -~\\n\\\\0-9:/]{0,200}|\\PC{0,100}") {
            to_freeze(&text);
        }
    }
}
