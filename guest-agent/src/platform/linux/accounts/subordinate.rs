//! Numbers for a user's own containers: /etc/subuid and /etc/subgid (subuid(5)).
//!
//! As useradd(8) does where these files are there: 65,536 numbers for each ordinary user, from the
//! first gap that holds so many. Never takes any away.

/// What login.defs(5) has for SUB_UID_MIN, SUB_UID_MAX and SUB_UID_COUNT, and so has every image
/// that says nothing else.
const FIRST: u64 = 100_000;
const LAST: u64 = 600_100_000;
const COUNT: u64 = 65_536;

/// The file's text with a line for this user; none where it has one, or where no gap is left.
pub(super) fn with(text: &str, user: &str) -> Option<String> {
    let lines: Vec<(&str, u64, u64)> = text
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, start, count) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, start.parse().ok()?, count.parse().ok()?))
        })
        .collect();
    if lines.iter().any(|(name, ..)| *name == user) {
        return None;
    }
    let mut taken: Vec<(u64, u64)> =
        lines.iter().map(|(_, start, count)| (*start, start.saturating_add(*count))).collect();
    taken.sort_unstable();
    let mut first = FIRST;
    for (start, end) in taken {
        if first.saturating_add(COUNT) > start {
            first = first.max(end);
        }
    }
    if first.saturating_add(COUNT - 1) > LAST {
        return None;
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Some(format!("{text}{gap}{user}:{first}:{COUNT}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_gets_the_first_gap_that_is_wide_enough_and_only_once() {
        let one = with("", "ada").unwrap();
        assert_eq!(one, "ada:100000:65536\n");
        let two = with(&one, "bob").unwrap();
        assert_eq!(two, "ada:100000:65536\nbob:165536:65536\n");
        assert_eq!(with(&two, "ada"), None);
        assert_eq!(with("z:200000:10", "a").unwrap(), "z:200000:10\na:100000:65536\n");
        assert_eq!(with("z:150000:10\n", "a").unwrap(), "z:150000:10\na:150010:65536\n");
        assert_eq!(with("z:100000:600000000\n", "a"), None);
        assert_eq!(with("z:100000:18446744073709551615\n", "a"), None);
    }
}
