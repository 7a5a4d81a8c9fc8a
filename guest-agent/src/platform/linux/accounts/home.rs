//! Home directories: made whole, with what the image's /etc/skel holds.
//!
//! Never touches one that is there. Its mode is what the image says in /etc/login.defs
//! (login.defs(5), HOME_MODE and UMASK), as useradd(8) does; an image that says nothing gets homes
//! that only their users enter.

use super::super::tree::{self, Access, Tree};
use crate::{
    account::Entry,
    platform::{Change, Result},
};

const LOGIN_DEFS: &str = "/etc/login.defs";

/// Makes the home directory, with what /etc/skel holds on its first level and below.
pub(super) fn make(tree: &Tree, entry: &Entry) -> Result<Change> {
    let home = std::path::Path::new(&entry.home);
    if tree.exists(&entry.home) {
        return Ok(Change::Same);
    }
    if let Some(parent) = home.parent() {
        tree.directory(parent, Some(Access::root(0o755)))?;
    }
    let own = |mode| Access { mode, uid: entry.uid, gid: entry.gid };
    // Filled under another name: a home that exists is a whole one.
    let draft = format!("{}.mezame-new", entry.home);
    tree.directory(draft.as_ref(), Some(own(mode(&tree.text(LOGIN_DEFS)?))))?;
    copy_skeleton(tree, "/etc/skel", &draft, entry, 0)?;
    let directory = tree.directory(home.parent().unwrap_or("/".as_ref()), None)?;
    let name = home.file_name().unwrap_or_default();
    let mut new = name.to_owned();
    new.push(".mezame-new");
    nix::fcntl::renameat(&directory, new.as_os_str(), &directory, name)
        .map_err(|errno| tree::file_error(home, errno))?;
    Ok(Change::Changed)
}

fn copy_skeleton(tree: &Tree, from: &str, to: &str, entry: &Entry, depth: u32) -> Result<()> {
    for name in tree.list(from) {
        let (source, target) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let own = |mode| Access { mode, uid: entry.uid, gid: entry.gid };
        if tree.directory(source.as_ref(), None).is_ok() {
            if depth < 8 {
                tree.directory(target.as_ref(), Some(own(0o700)))?;
                copy_skeleton(tree, &source, &target, entry, depth + 1)?;
            }
        } else if let Some(bytes) = tree.read(&source)? {
            tree.write(&target, &bytes, own(0o644))?;
        }
    }
    Ok(())
}

/// The mode of a new home, by the text of login.defs(5).
fn mode(login_defs: &str) -> u32 {
    let octal = |name: &str| {
        login_defs.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(name)).then(|| u32::from_str_radix(words.next()?, 8).ok())?
        })
    };
    match (octal("HOME_MODE"), octal("UMASK")) {
        (Some(mode), _) => mode & 0o777,
        (None, Some(mask)) => 0o777 & !mask,
        (None, None) => 0o700,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_says_who_enters_a_new_home() {
        assert_eq!(mode("# HOME_MODE 0711\nUMASK\t\t022\n"), 0o755);
        assert_eq!(mode("UMASK 022\nHOME_MODE\t0700\n"), 0o700);
        assert_eq!(mode("UMASK what\n"), 0o700);
        assert_eq!(mode(""), 0o700);
    }
}
