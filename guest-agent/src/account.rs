//! /etc/passwd, /etc/group and /etc/shadow as texts: looked up and edited, never by a C library.
//!
//! A static binary can't use getpwnam (it would load NSS modules), and a small image has no
//! useradd. Lines that are not understood stay as they are. The forms are passwd(5), group(5) and
//! shadow(5).

/// What an account or a group may be called, for messages.
pub const NAME_RULE: &str =
    "1 to 32 of a-z, A-Z, 0-9, '_', '.' and '-', beginning with a letter or '_'";

/// Whether a text can name an account or a group.
pub fn is_account_name(text: &str) -> bool {
    let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    (1..=32).contains(&text.len())
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|b| first(b) || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// A line of /etc/passwd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The login name.
    pub name: String,
    /// The user's number.
    pub uid: u32,
    /// The main group's number.
    pub gid: u32,
    /// The comment.
    pub gecos: String,
    /// The home directory.
    pub home: String,
    /// The login shell.
    pub shell: String,
}

/// Finds a user.
pub fn find_user(passwd: &str, name: &str) -> Option<Entry> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            [known, _, uid, gid, gecos, home, shell] if *known == name => Some(Entry {
                name: name.to_owned(),
                uid: uid.parse().ok()?,
                gid: gid.parse().ok()?,
                gecos: (*gecos).to_owned(),
                home: (*home).to_owned(),
                shell: (*shell).to_owned(),
            }),
            _ => None,
        }
    })
}

/// Adds a user at the end; the password is in shadow.
pub fn add_user(passwd: &str, entry: &Entry) -> String {
    let Entry { name, uid, gid, gecos, home, shell } = entry;
    with_line(passwd, &format!("{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}"))
}

/// Sets a field of the line that begins with `name:`; the text as it is where there is none.
pub fn set_field(text: &str, name: &str, field: usize, value: &str) -> String {
    let mut out = String::with_capacity(text.len() + value.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches('\n');
        let mut fields: Vec<&str> = bare.split(':').collect();
        if fields[0] == name && fields.len() > field {
            fields[field] = value;
            out.push_str(&fields.join(":"));
            out.push_str(&line[bare.len()..]);
        } else {
            out.push_str(line);
        }
    }
    out
}

/// A field of the line that begins with `name:`.
pub fn field<'a>(text: &'a str, name: &str, field: usize) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(field - 1)).flatten()
    })
}

/// The number of a group.
pub fn find_group(group: &str, name: &str) -> Option<u32> {
    field(group, name, 2)?.parse().ok()
}

/// Adds an empty group at the end.
pub fn add_group(group: &str, name: &str, gid: u32) -> String {
    with_line(group, &format!("{name}:x:{gid}:"))
}

/// Adds a user to a group's members; the text as it is where it is one.
pub fn add_member(group: &str, name: &str, user: &str) -> String {
    let Some(members) = field(group, name, 3) else { return group.to_owned() };
    if members.split(',').any(|member| member == user) {
        return group.to_owned();
    }
    let members = if members.is_empty() { user.to_owned() } else { format!("{members},{user}") };
    set_field(group, name, 3, &members)
}

/// Sets a password hash in shadow, making the line where there is none. `day` is the number of
/// days since 1970-01-01 that is noted as the last change; 0 asks for a new password at login.
pub fn set_password(shadow: &str, name: &str, hash: &str, day: u64) -> String {
    if field(shadow, name, 1).is_none() {
        return with_line(shadow, &format!("{name}:{hash}:{day}:0:99999:7:::"));
    }
    set_field(&set_field(shadow, name, 1, hash), name, 2, &day.to_string())
}

/// The lowest number of a range that neither a user nor a group has.
pub fn free_id(passwd: &str, group: &str, system: bool) -> Option<u32> {
    let range = if system { 100..1000 } else { 1000..60_000 };
    let taken: std::collections::BTreeSet<u32> = passwd
        .lines()
        .chain(group.lines())
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
        .collect();
    range.into_iter().find(|id| !taken.contains(id))
}

fn with_line(text: &str, line: &str) -> String {
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{gap}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nodd line\nops:x:1000:1000::/home/ops:/bin/sh\n";

    #[test]
    fn a_user_is_found_added_and_changed_and_other_lines_stay() {
        assert_eq!(find_user(PASSWD, "ops").unwrap().uid, 1000);
        assert_eq!(find_user(PASSWD, "op"), None);
        let entry = Entry {
            name: "eve".into(),
            uid: 1001,
            gid: 1001,
            gecos: String::new(),
            home: "/home/eve".into(),
            shell: "/bin/sh".into(),
        };
        let more = add_user(PASSWD, &entry);
        assert_eq!(find_user(&more, "eve"), Some(entry));
        let changed = set_field(&more, "ops", 6, "/bin/ash");
        assert_eq!(changed, more.replace("/home/ops:/bin/sh", "/home/ops:/bin/ash"));
    }

    #[test]
    fn numbers_in_use_by_a_user_or_a_group_are_not_given_again() {
        assert_eq!(free_id(PASSWD, "staff:x:1001:\n", false), Some(1002));
        assert_eq!(free_id(PASSWD, "", true), Some(100));
    }

    #[test]
    fn a_member_is_added_once() {
        let group = "wheel:x:10:root\nempty:x:11:\n";
        let group = add_member(group, "wheel", "ops");
        let group = add_member(&group, "empty", "ops");
        assert_eq!(group, "wheel:x:10:root,ops\nempty:x:11:ops\n");
        assert_eq!(add_member(&group, "wheel", "ops"), group);
        assert_eq!(add_member(&group, "missing", "ops"), group);
    }

    #[test]
    fn a_password_replaces_the_hash_and_its_day_or_makes_the_line() {
        let shadow = set_password("root:*:19000:0:99999:7:::", "root", "$6$a$b", 20_000);
        assert_eq!(shadow, "root:$6$a$b:20000:0:99999:7:::");
        let shadow = set_password(&shadow, "ops", "$6$c$d", 0);
        assert_eq!(shadow, "root:$6$a$b:20000:0:99999:7:::\nops:$6$c$d:0:0:99999:7:::\n");
    }

    #[test]
    fn names_that_would_break_a_file_are_refused() {
        for bad in ["", "a:b", "a\nb", "-x", "0day", "a b", "ä", &"a".repeat(33)] {
            assert!(!is_account_name(bad), "{bad:?}");
        }
        for good in ["root", "_x", "a-b.c", "Web01"] {
            assert!(is_account_name(good), "{good:?}");
        }
    }
}
