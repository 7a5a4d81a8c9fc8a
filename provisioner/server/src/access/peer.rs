//! Who may use the unix socket: root, the provisioner's own user, and one group's members.
//!
//! The socket's mode keeps others out already; the credentials that the kernel gives with a
//! connection (unix(7), SO_PEERCRED) are checked as well, since a mode is changed by accident,
//! and say in the log who changed what.

use std::ffi::CString;

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::{Caller, Role};

/// Decides about peers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PeerPolicy {
    own: Uid,
    group: Option<Gid>,
}

impl PeerPolicy {
    /// The policy of a process that runs as `own`.
    pub(crate) fn new(own: Uid, group: Option<Gid>) -> Self {
        Self { own, group }
    }

    /// The caller, if it is let in.
    pub(crate) fn admit(&self, user: Uid, primary_group: Gid) -> Option<Caller> {
        let entry = User::from_uid(user).ok().flatten();
        let good = user.is_root()
            || user == self.own
            || self.group.is_some_and(|group| {
                group == primary_group || entry.as_ref().is_some_and(|user| is_in(user, group))
            });
        let name = entry.map_or_else(|| format!("uid {user}"), |user| user.name);
        good.then_some(Caller { name, role: Role::Write })
    }
}

fn is_in(user: &User, group: Gid) -> bool {
    let Ok(name) = CString::new(user.name.as_str()) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_the_own_user_and_the_group_are_let_in_and_nobody_else() {
        let policy = PeerPolicy::new(Uid::from_raw(4_000_001), Some(Gid::from_raw(4_000_002)));
        let other = Gid::from_raw(4_000_003);
        assert_eq!(policy.admit(Uid::from_raw(0), other).unwrap().name, "root");
        assert!(policy.admit(Uid::from_raw(4_000_001), other).is_some());
        assert!(policy.admit(Uid::from_raw(4_000_009), Gid::from_raw(4_000_002)).is_some());
        assert_eq!(policy.admit(Uid::from_raw(4_000_009), other), None);
        let closed = PeerPolicy::new(Uid::from_raw(4_000_001), None);
        assert_eq!(closed.admit(Uid::from_raw(4_000_009), Gid::from_raw(4_000_002)), None);
    }
}
