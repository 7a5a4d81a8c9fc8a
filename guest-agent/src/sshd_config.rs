//! Lines of sshd_config(5), and one of them: whether passwords are taken. Pure.
//!
//! sshd takes the first value that it reads. So the line comes before everything else, where
//! neither an `Include` nor a `Match` block can catch it; what stands in a `Match` block is an
//! exception that somebody has made, and stays.

/// Whether passwords are taken.
pub const PASSWORDS: &str = "PasswordAuthentication";

/// The keyword of a line, and what follows it: `Keyword value` or `Keyword=value`.
pub fn words(line: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut words = line
        .split(|letter: char| letter.is_ascii_whitespace() || letter == '=')
        .map(|word| word.trim_matches('"'))
        .filter(|word| !word.is_empty());
    (words.next().unwrap_or_default(), words)
}

/// Whether a line has this keyword.
pub fn begins_with(line: &str, keyword: &str) -> bool {
    words(line).0.eq_ignore_ascii_case(keyword)
}

/// The lines that count for every connection: Match goes to the end of its file.
pub fn of_all(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').take_while(|line| !begins_with(line, "Match"))
}

/// The file's text with that value for all; line ends as the file has them.
pub fn with_passwords(text: &[u8], on: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = format!("{PASSWORDS} {}{end}", if on { "yes" } else { "no" });
    let of_all = of_all(&text).count();
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if at >= of_all || !begins_with(line, PASSWORDS) {
            out.push_str(line);
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, on: bool) -> String {
        String::from_utf8(with_passwords(text.as_bytes(), on)).unwrap()
    }

    #[test]
    fn the_line_comes_first_once_and_exceptions_stay() {
        let text = "Port 22\r\npasswordauthentication=yes\r\n#PasswordAuthentication yes\r\n\
                    Match Group administrators\r\n  PasswordAuthentication yes\r\n";
        let wanted = "PasswordAuthentication no\r\nPort 22\r\n#PasswordAuthentication yes\r\n\
                      Match Group administrators\r\n  PasswordAuthentication yes\r\n";
        assert_eq!(with(text, false), wanted);
        assert_eq!(with(wanted, false), wanted, "once more it is the same");
        assert_eq!(with("", true), "PasswordAuthentication yes\n");
        assert_eq!(with("Include x\n", true), "PasswordAuthentication yes\nInclude x\n");
    }
}
