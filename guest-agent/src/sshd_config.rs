//! A line of sshd_config(5): whether passwords are taken. Pure.
//!
//! sshd takes the first value that it reads. So the line comes before everything else, where neither
//! an `Include` nor a `Match` block can catch it; what stands in a `Match` block is an exception that
//! somebody has made, and stays.

const KEY: &str = "PasswordAuthentication";

/// The file's text with that value for all; line ends as the file has them.
pub fn with_passwords(text: &[u8], on: bool) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = format!("{KEY} {}{end}", if on { "yes" } else { "no" });
    let mut in_match = false;
    for line in text.split_inclusive('\n') {
        let word = line.split(|it: char| it.is_whitespace() || it == '=').find(|it| !it.is_empty());
        let is = |wanted: &str| word.is_some_and(|word| word.eq_ignore_ascii_case(wanted));
        in_match |= is("Match");
        if in_match || !is(KEY) {
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
