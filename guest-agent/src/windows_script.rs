//! The bytes of a script's file, as cmd.exe and Windows PowerShell read them. Pure.

/// For cmd.exe: lines end with CR LF, since it loses its place at labels of other files; no mark at
/// the beginning, which it would take for a command.
pub fn batch(body: &[u8]) -> Vec<u8> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut out = Vec::with_capacity(body.len() + body.len() / 16);
    let mut before = 0;
    for byte in body {
        if *byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(*byte);
        before = *byte;
    }
    if !out.is_empty() && !out.ends_with(b"\n") {
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// For Windows PowerShell: with the mark of UTF-8, without which it takes letters beyond ASCII for
/// those of the system's old code page.
pub fn power_shell(body: &[u8]) -> Vec<u8> {
    let mark = b"\xef\xbb\xbf";
    let body = body.strip_prefix(mark).unwrap_or(body);
    if body.is_ascii() || std::str::from_utf8(body).is_err() {
        return body.to_vec();
    }
    [mark, body].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_of_a_batch_script_end_as_cmd_wants_them() {
        assert_eq!(batch(b"a\nb\r\nc"), b"a\r\nb\r\nc\r\n");
        assert_eq!(batch(b"\xef\xbb\xbf\n\n"), b"\r\n\r\n");
        assert_eq!(batch(b""), b"");
    }

    #[test]
    fn power_shell_is_told_where_a_script_is_utf_8() {
        assert_eq!(power_shell(b"exit 1"), b"exit 1");
        assert_eq!(power_shell("'\u{e4}'".as_bytes()), "\u{feff}'\u{e4}'".as_bytes());
        assert_eq!(power_shell("\u{feff}'\u{e4}'".as_bytes()), "\u{feff}'\u{e4}'".as_bytes());
        assert_eq!(power_shell(b"'\xe4'"), b"'\xe4'");
    }

    proptest! {
        #[test]
        fn a_batch_script_that_is_right_stays_as_it_is(body: Vec<u8>) {
            let once = batch(&body);
            prop_assume!(!once.starts_with(b"\xef\xbb\xbf"));
            prop_assert_eq!(&batch(&once), &once);
        }
    }
}
