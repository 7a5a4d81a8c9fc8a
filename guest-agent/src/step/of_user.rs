//! Names of the steps that are done once for a user, and so are looked up by the user's name later.

/// What is done once for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfUser {
    /// A password that was given is set.
    Password,
    /// A password is made.
    GeneratedPassword,
    /// A new password is to be chosen.
    ExpirePassword,
    /// The password is locked.
    LockPassword,
}

impl OfUser {
    const ALL: [Self; 4] =
        [Self::Password, Self::GeneratedPassword, Self::ExpirePassword, Self::LockPassword];

    fn words(self) -> &'static str {
        match self {
            Self::Password => "password ",
            Self::GeneratedPassword => "generated password ",
            Self::ExpirePassword => "expire password ",
            Self::LockPassword => "lock password ",
        }
    }

    /// The step's name.
    pub fn key(self, user: &str) -> String {
        format!("{}{user}", self.words())
    }
}

/// A step's name with its user called otherwise, where it has one.
pub fn respelled(key: &str, spelling: &dyn Fn(&str) -> String) -> String {
    OfUser::ALL
        .iter()
        .find_map(|of| Some(of.key(&spelling(key.strip_prefix(of.words())?))))
        .unwrap_or_else(|| key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_name_is_found_in_each_name_of_a_step_and_nothing_else_is_touched() {
        let lower = |name: &str| name.to_ascii_lowercase();
        for of in OfUser::ALL {
            assert_eq!(respelled(&of.key("Ops"), &lower), of.key("ops"));
        }
        for other in ["user-data file C:\\Password Ops", "ssh passwords", "hostname"] {
            assert_eq!(respelled(other, &lower), other);
        }
    }
}
