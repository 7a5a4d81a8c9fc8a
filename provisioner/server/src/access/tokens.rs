//! Bearer tokens (RFC 6750) of the TLS listener, kept as digests in a file.
//!
//! ```text
//! # name  role   SHA-256 of the token, hexadecimal
//! ci      write  9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//! ```
//! A plain digest is enough, since a token is 256 random bits and no password:
//! `openssl rand -hex 32 | tee token | tr -d '\n' | sha256sum`. Digests are compared in constant
//! time, and all of them, so that time tells nothing. The file is read again when it changes: a
//! token that is taken out of it stops working at once.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use nix::unistd::geteuid;
use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;

use super::{Caller, Role};

/// The shortest token that is looked up: 128 bits in hexadecimal digits.
const SHORTEST: usize = 32;
/// The longest.
const LONGEST: usize = 512;
/// The longest file of digests.
const LONGEST_FILE: u64 = 1 << 20;

/// Why the tokens file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// It can't be read.
    #[error("{path}: can't be read")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner could add a token.
    #[error("{path}: mode {mode:04o} lets others than the owner write tokens; take it away")]
    Mode {
        /// Which file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It belongs to someone who could add a token.
    #[error("{path}: belongs to user {owner}, and must to root or to user {user} that runs this")]
    Owner {
        /// Which file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this.
        user: u32,
    },
    /// It is too long to be meant.
    #[error("{path}: is longer than {LONGEST_FILE} bytes")]
    Long {
        /// Which file.
        path: PathBuf,
    },
    /// A line can't be read.
    #[error("{path}: line {line}: {wanted}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What it must be.
        wanted: &'static str,
    },
}

/// The tokens of a file.
pub(crate) struct Tokens {
    path: PathBuf,
    known: Mutex<(Option<Mark>, Arc<[Token]>)>,
}

/// What changes when the file does.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mark {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

struct Token {
    name: String,
    role: Role,
    digest: [u8; 32],
}

impl Tokens {
    /// Reads the file, so that what is wrong with it is told at the start.
    pub(crate) fn open(path: &Path) -> Result<Self, TokensError> {
        let (mark, tokens) = read(path, geteuid().as_raw())?;
        Ok(Self { path: path.into(), known: Mutex::new((Some(mark), tokens)) })
    }

    /// The caller that a token belongs to.
    pub(crate) fn caller(&self, token: &str) -> Option<Caller> {
        if !(SHORTEST..=LONGEST).contains(&token.len()) {
            return None;
        }
        let asked = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for token in self.current().iter() {
            if bool::from(token.digest.ct_eq(asked.as_ref())) {
                found = Some(Caller { name: token.name.clone(), role: token.role });
            }
        }
        found
    }

    /// The tokens as the file has them now. A file that can't be read lets nobody in: an operator
    /// who spoils it must notice, and a removed token must not live on.
    fn current(&self) -> Arc<[Token]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = fs::metadata(&self.path).ok().map(|about| Mark::of(&about));
        if mark.is_none() || mark != known.0 {
            *known = match read(&self.path, geteuid().as_raw()) {
                Ok((mark, tokens)) => (Some(mark), tokens),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "no token is taken until the tokens file is good"
                    );
                    (None, Arc::new([]))
                }
            };
        }
        Arc::clone(&known.1)
    }
}

impl Mark {
    fn of(about: &fs::Metadata) -> Self {
        Self {
            inode: about.ino(),
            length: about.len(),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

fn read(path: &Path, user: u32) -> Result<(Mark, Arc<[Token]>), TokensError> {
    let at = |source| TokensError::Io { path: path.into(), source };
    let file = fs::File::open(path).map_err(at)?;
    let about = file.metadata().map_err(at)?;
    if about.mode() & 0o022 != 0 {
        return Err(TokensError::Mode { path: path.into(), mode: about.mode() & 0o7777 });
    }
    if !may_own(about.uid(), user) {
        return Err(TokensError::Owner { path: path.into(), owner: about.uid(), user });
    }
    if about.len() > LONGEST_FILE {
        return Err(TokensError::Long { path: path.into() });
    }
    let text = io::read_to_string(file).map_err(at)?;
    let tokens: Result<Vec<Token>, _> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .map(|(index, line)| {
            parse(line).map_err(|wanted| TokensError::Line {
                path: path.into(),
                line: index + 1,
                wanted,
            })
        })
        .collect();
    Ok((Mark::of(&about), tokens?.into()))
}

/// Root may, and who runs this.
fn may_own(owner: u32, user: u32) -> bool {
    owner == 0 || owner == user
}

fn parse(line: &str) -> Result<Token, &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let [name, role, hex] = words[..] else {
        return Err("a line has a name, a role and a SHA-256 in hexadecimal digits");
    };
    let role = match role {
        "read" => Role::Read,
        "write" => Role::Write,
        _ => return Err("the role is 'read' or 'write'"),
    };
    const HEX: &str = "the third word is a SHA-256 in 64 hexadecimal digits";
    if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(HEX);
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).map_err(|_| HEX)?;
        *byte = u8::from_str_radix(pair, 16).map_err(|_| HEX)?;
    }
    Ok(Token { name: name.into(), role, digest })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::spec::hex;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    fn line(name: &str, role: &str, token: &str) -> String {
        format!("{name} {role} {}\n", hex(digest(&SHA256, token.as_bytes()).as_ref()))
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_token_is_known_by_its_digest_and_has_its_role() {
        let other = "f".repeat(64);
        let text =
            format!("# tokens\n\n{}{}", line("ci", "write", TOKEN), line("ui", "read", &other));
        let file = file(&text);
        let tokens = Tokens::open(file.path()).unwrap();
        assert_eq!(tokens.caller(TOKEN), Some(Caller { name: "ci".into(), role: Role::Write }));
        assert_eq!(tokens.caller(&other).unwrap().role, Role::Read);
        let digest = hex(digest(&SHA256, TOKEN.as_bytes()).as_ref());
        for bad in ["", "x", &TOKEN[1..], &digest, &"f".repeat(63), &"f".repeat(10_000)] {
            assert_eq!(tokens.caller(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_that_is_taken_out_of_the_file_stops_working() {
        let file = file(&line("ci", "write", TOKEN));
        let tokens = Tokens::open(file.path()).unwrap();
        assert!(tokens.caller(TOKEN).is_some());
        fs::write(file.path(), "# none\n").unwrap();
        assert_eq!(tokens.caller(TOKEN), None);
        fs::write(file.path(), line("ci", "write", TOKEN)).unwrap();
        assert!(tokens.caller(TOKEN).is_some());
        fs::write(file.path(), "spoilt\n").unwrap();
        assert_eq!(tokens.caller(TOKEN), None);
        fs::remove_file(file.path()).unwrap();
        assert_eq!(tokens.caller(TOKEN), None);
        fs::write(file.path(), "").unwrap();
    }

    #[test]
    fn a_file_of_somebody_else_is_refused() {
        for (owner, user, good) in [(0, 7, true), (7, 7, true), (8, 7, false), (7, 0, false)] {
            assert_eq!(may_own(owner, user), good, "{owner} {user}");
        }
        let file = file(&line("ci", "write", TOKEN));
        match fs::metadata(file.path()).unwrap().uid() {
            // Root's file is good for everybody.
            0 => assert!(read(file.path(), 4_000_001).is_ok()),
            owner => {
                let refused = read(file.path(), owner + 1);
                assert!(matches!(refused, Err(TokensError::Owner { .. })));
            }
        }
    }

    #[test]
    fn a_file_that_others_may_write_or_that_is_spoilt_is_refused() {
        let file = file(&line("ci", "write", TOKEN));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o620)).unwrap();
        assert!(matches!(Tokens::open(file.path()), Err(TokensError::Mode { mode: 0o620, .. })));
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o600)).unwrap();
        for bad in ["ci write", "ci admin aa", "ci read zz", "ci read aa bb"] {
            fs::write(file.path(), bad).unwrap();
            let refused = Tokens::open(file.path());
            assert!(matches!(refused, Err(TokensError::Line { line: 1, .. })), "{bad}");
        }
    }
}
