//! The keys that requests are signed with: from a file of AWS's form, or from AWS's variables.
//!
//! Whoever starts the program reads the file and the variables; here is only what they mean. The
//! secret is in no `Debug` and in no error. The form is that of the
//! [AWS CLI](https://docs.aws.amazon.com/cli/v1/userguide/cli-configure-files.html), of which one
//! section is read.

use std::fmt;

use super::error::S3Error;

/// Longer files are none of ours.
const LONGEST: usize = 64 * 1024;
const NAMES: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];

/// An access key, its secret, and the token of temporary ones.
#[derive(Clone)]
pub struct Credentials(rusty_s3::Credentials);

impl Credentials {
    /// Of an access key and its secret.
    pub fn new(key: &str, secret: &str, token: Option<&str>) -> Result<Self, S3Error> {
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        if !is_plain(key) || !is_plain(secret) || !token.is_none_or(is_plain) {
            return Err(S3Error::Credentials(
                "an access key, its secret and its token are printable ASCII without spaces",
            ));
        }
        Ok(Self(match token {
            None => rusty_s3::Credentials::new(key, secret),
            Some(token) => rusty_s3::Credentials::new_with_token(key, secret, token),
        }))
    }

    /// Of a file's text: lines `NAME = VALUE` in the section `[default]`, or in none.
    pub fn parse(text: &str) -> Result<Self, S3Error> {
        if text.len() > LONGEST {
            return Err(S3Error::Credentials("a file of credentials has at most 64 KiB"));
        }
        let mut values = [None; 3];
        let mut is_ours = true;
        for line in text.lines().map(str::trim) {
            if let Some(section) = line.strip_prefix('[') {
                is_ours = section.strip_suffix(']').is_some_and(|name| name.trim() == "default");
            } else if let (true, Some((name, value))) = (is_ours, line.split_once('=')) {
                let place = NAMES.iter().position(|known| *known == name.trim());
                // A comment has no name of ours before its `=`.
                if let Some(place) = place {
                    values[place] = Some(value.trim());
                }
            }
        }
        Self::of(values)
    }

    /// Of variables as AWS names them: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, and for
    /// temporary ones `AWS_SESSION_TOKEN`. Empty ones count as missing.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, S3Error> {
        let values = NAMES.map(|name| {
            let value = variable(&name.to_ascii_uppercase()).map(zeroize::Zeroizing::new);
            value.filter(|value| !value.is_empty())
        });
        Self::of(std::array::from_fn(|at| values[at].as_deref().map(String::as_str)))
    }

    fn of([key, secret, token]: [Option<&str>; 3]) -> Result<Self, S3Error> {
        let (Some(key), Some(secret)) = (key, secret) else {
            return Err(S3Error::Credentials(
                "credentials need aws_access_key_id and aws_secret_access_key",
            ));
        };
        Self::new(key, secret, token)
    }

    pub(super) fn signer(&self) -> &rusty_s3::Credentials {
        &self.0
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credentials(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(credentials: &Credentials) -> (&str, &str, Option<&str>) {
        let signer = credentials.signer();
        (signer.key(), signer.secret(), signer.token())
    }

    #[test]
    fn a_file_as_the_aws_cli_writes_it_is_read() {
        let text = "# mine\n[other]\naws_access_key_id = no\n[default]\r\naws_access_key_id = AKID\n\
                    aws_secret_access_key=s3cr3t/+=\nregion = x\n[third]\naws_session_token = no\n";
        let credentials = Credentials::parse(text).unwrap();
        assert_eq!(parts(&credentials), ("AKID", "s3cr3t/+=", None));
        let plain = "aws_access_key_id=A\naws_secret_access_key=B\naws_session_token=C";
        assert_eq!(parts(&Credentials::parse(plain).unwrap()), ("A", "B", Some("C")));
    }

    #[test]
    fn variables_are_read_and_an_empty_one_is_missing() {
        let read = |secret: &'static str| {
            Credentials::from_variables(move |name| match name {
                "AWS_ACCESS_KEY_ID" => Some("A".into()),
                "AWS_SECRET_ACCESS_KEY" => Some(secret.into()),
                "AWS_SESSION_TOKEN" => Some(String::new()),
                _ => None,
            })
        };
        assert_eq!(parts(&read("B").unwrap()), ("A", "B", None));
        assert!(matches!(read(""), Err(S3Error::Credentials(_))));
    }

    #[test]
    fn no_secret_is_in_debug_or_in_errors() {
        let credentials = Credentials::new("AKID", "s3cr3t", Some("t0ken")).unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(..)");
        let error = Credentials::new("AKID", "s3cr3t with a space", None).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cr3t"));
    }
}
