//! `disk`: what a guest is told, written into a file that becomes one of its disks.
//!
//! The control plane makes the image; here is only where it is put. It holds the guest's secrets,
//! so the file is the operator's alone (mode 0600), is there whole or not at all, and takes no
//! other file's place unless that is wanted.

use std::{
    fs,
    io::{self, IsTerminal, Write},
    path::Path,
};

use mezame_model::api::Kind;

use super::Session;
use crate::{command::DiskArguments, exit::Exit, failure::Failure};

/// Standard output, on the command line.
const STANDARD_OUTPUT: &str = "-";

pub(super) async fn run(session: &Session<'_>, arguments: DiskArguments) -> Result<Exit, Failure> {
    let name = session.name(Kind::Instance, &arguments.name)?;
    let file = (arguments.to.as_os_str() != STANDARD_OUTPUT).then_some(&*arguments.to);
    // Before the control plane hands out what then has nowhere to go.
    match file {
        Some(path) => check(path, arguments.force)?,
        None if io::stdout().is_terminal() => return Err(Failure::Terminal),
        None => {}
    }
    let image = session
        .client
        .disk(&name, arguments.format.as_str())
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })?;
    let Some(path) = file else {
        let mut out = io::stdout().lock();
        out.write_all(&image)?;
        out.flush()?;
        return Ok(Exit::Success);
    };
    write(path, &image, arguments.force)?;
    session.screen.say(&format!(
        "{} is the {} disk of {name}, {} KiB; it holds what is secret in the guest",
        path.display(),
        arguments.format.as_str(),
        image.len().div_ceil(1024),
    ));
    Ok(Exit::Success)
}

/// Whether a file may be written there.
pub(super) fn check(path: &Path, force: bool) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(there) if force && there.is_file() => Ok(()),
        // A device is not written to but replaced, which nobody can have meant.
        Ok(there) => Err(Failure::OutputThere { path: path.into(), is_file: there.is_file() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Failure::Output { path: path.into(), source }),
    }
}

/// Writes a file beside the place, and puts it there once it is whole.
pub(super) fn write(path: &Path, image: &[u8], force: bool) -> Result<(), Failure> {
    let at = |source| Failure::Output { path: path.into(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Nobody but its owner may open it: mode 0600 from its first moment on.
    let mut file = tempfile::Builder::new().prefix(".mezame-").tempfile_in(folder).map_err(at)?;
    file.write_all(image).map_err(at)?;
    file.as_file().sync_all().map_err(at)?;
    let put = if force { file.persist(path) } else { file.persist_noclobber(path) };
    match put {
        Ok(_) => Ok(()),
        // Somebody made it meanwhile.
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::OutputThere { path: path.into(), is_file: true })
        }
        Err(error) => Err(at(error.error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_file_is_its_owners_alone_and_replaced_only_where_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("seed.img");
        assert!(check(&path, false).is_ok());
        write(&path, b"one", false).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        for refused in [check(&path, false), write(&path, b"two", false)] {
            assert!(matches!(refused, Err(Failure::OutputThere { is_file: true, .. })));
        }
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"one".to_vec(), 0o644));
        check(&path, true).unwrap();
        write(&path, b"two", true).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"two".to_vec(), 0o600));
        // Nothing is left of what failed.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        symlink("/dev/null", &link).unwrap();
        for path in [Path::new("/dev/null"), folder.path(), &link] {
            for force in [false, true] {
                let refused = check(path, force);
                assert!(
                    matches!(refused, Err(Failure::OutputThere { is_file: false, .. })),
                    "{path:?}"
                );
            }
        }
        let nowhere = folder.path().join("none/seed.img");
        assert!(matches!(write(&nowhere, b"", false), Err(Failure::Output { .. })));
    }
}
