//! What a script for Windows asks for by its exit code. Pure.
//!
//! 1001, 1002 and 1003 are cloudbase-init's ("User data", "Exit codes"): scripts that were written
//! for it need a reboot in their middle, and to be run again after it. Unix has no such codes: an
//! exit status has eight bits there.

/// What is to be done after a script has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wish {
    /// The script is to be run again at the next boot.
    pub again: bool,
    /// The guest is to be rebooted now.
    pub reboot: bool,
}

impl Wish {
    /// What an exit code asks for; none where it is an ordinary one.
    pub fn of(status: i32) -> Option<Self> {
        match status {
            1001 => Some(Self { again: false, reboot: true }),
            1002 => Some(Self { again: true, reboot: false }),
            1003 => Some(Self { again: true, reboot: true }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_codes_ask_for_something() {
        let asking: Vec<i32> = (-5..5000).filter(|status| Wish::of(*status).is_some()).collect();
        assert_eq!(asking, [1001, 1002, 1003]);
        assert_eq!(Wish::of(1001), Some(Wish { again: false, reboot: true }));
        assert_eq!(Wish::of(1002), Some(Wish { again: true, reboot: false }));
        assert_eq!(Wish::of(1003), Some(Wish { again: true, reboot: true }));
    }
}
