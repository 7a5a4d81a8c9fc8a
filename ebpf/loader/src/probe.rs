//! Whether this kernel and this user can run the data path.

use std::io;

use crate::syscall;

/// Why the data path can't run here, in one sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsupported {
    /// Loading programs needs root.
    #[error("the data path needs root (CAP_BPF, CAP_NET_ADMIN and CAP_SYS_ADMIN)")]
    NotRoot,
    /// Before 6.6.
    #[error("the data path needs Linux 6.6 or newer for tcx; this is {release}")]
    KernelTooOld {
        /// As `uname -r` says.
        release: String,
    },
    /// New enough, but built without.
    #[error("this kernel ({release}) lacks {feature}, which the data path needs")]
    Missing {
        /// As `uname -r` says.
        release: String,
        /// Such as "tcx (CONFIG_NET_XGRESS)".
        feature: &'static str,
    },
}

/// Checks that the data path can run here. Changes nothing.
pub fn probe() -> Result<(), Unsupported> {
    let release = nix::sys::utsname::uname()
        .map(|name| name.release().to_string_lossy().into_owned())
        .unwrap_or_default();
    judge(release, syscall::query_tcx())
}

/// The first kernel with tcx.
const FLOOR: (u32, u32) = (6, 6);

fn judge(release: String, query: io::Result<()>) -> Result<(), Unsupported> {
    let Err(error) = query else { return Ok(()) };
    match error.raw_os_error() {
        // Also where seccomp or a lockdown forbids it, so root may see it.
        Some(libc::EPERM | libc::EACCES) => Err(Unsupported::NotRoot),
        _ if version(&release).is_some_and(|version| version < FLOOR) => {
            Err(Unsupported::KernelTooOld { release })
        }
        Some(libc::ENOSYS) => {
            Err(Unsupported::Missing { release, feature: "bpf(2) (CONFIG_BPF_SYSCALL)" })
        }
        _ => Err(Unsupported::Missing { release, feature: "tcx (CONFIG_NET_XGRESS)" }),
    }
}

/// The first two numbers of a release such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(release: &str, errno: i32) -> String {
        judge(release.into(), Err(io::Error::from_raw_os_error(errno))).unwrap_err().to_string()
    }

    #[test]
    fn what_is_missing_is_said_in_one_sentence() {
        let old = says("6.1.0-13-amd64", libc::EINVAL);
        assert_eq!(old, "the data path needs Linux 6.6 or newer for tcx; this is 6.1.0-13-amd64");
        assert!(says("6.1.0-13-amd64", libc::EPERM).contains("needs root"));
        assert!(says("6.18.0", libc::EINVAL).contains("lacks tcx (CONFIG_NET_XGRESS)"));
        assert!(says("6.18.0", libc::ENOSYS).contains("lacks bpf(2)"));
        assert!(says("strange", libc::EINVAL).contains("lacks tcx"));
    }

    #[test]
    fn a_kernel_that_answers_the_query_is_supported_whatever_it_calls_itself() {
        assert_eq!(judge("5.14.0-backported".into(), Ok(())), Ok(()));
    }
}
