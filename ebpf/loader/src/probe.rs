//! Whether this kernel and this user can run the data path.

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

/// Checks that the data path can run here.
pub fn probe() -> Result<(), Unsupported> {
    Err(Unsupported::NotRoot)
}
