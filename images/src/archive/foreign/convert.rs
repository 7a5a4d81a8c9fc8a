//! The conversion of a file to a disk, by `qemu-img`, which is not trusted with more than that.
//!
//! It is started by `setpriv` and `prlimit` (util-linux), each of which becomes the next program: it
//! dies with the thread that waits for it (`PR_SET_PDEATHSIG`), gains no privileges, writes no file
//! longer than the disk may be, and has limits of address space and processor time. Where we are
//! root it is a user of its own without a capability, who can open the two files and nothing else
//! that is not open to everybody, and that no other conversion is meanwhile ([`super::user`]).

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    unistd::{Gid, Uid, fchown, geteuid},
};

use super::{FileImport, ForeignError, check_room, in_scratch, user::Lease};
use crate::{
    archive::{ArchiveError, Phase, Progress, Watch},
    nameless::nameless,
};

/// What the program says may take this much, however small the disk.
const LONGEST_SAID: u64 = 1024 * 1024;

/// The disk in a file, as a sparse file without a name.
///
/// The file is checked before: of one that was cut short `qemu-img convert` reads what is missing
/// as zeros, and says nothing.
pub(super) fn convert(
    file: &File,
    import: &FileImport<'_>,
    watch: &dyn Watch,
) -> Result<File, ForeignError> {
    /// Sound but for room that nobody uses; and a form that can't be checked.
    const SOUND: [i32; 2] = [3, 63];
    let scratch = |source| in_scratch(import, source);
    let disk = nameless(import.scratch).map_err(scratch)?;
    let input = format!(
        "driver={},file.driver=file,file.locking=off,file.filename=/dev/fd/0",
        import.format.name()
    );
    watch.enter(Phase::Converting);
    // Held until the program has ended.
    let lease = lease(import, watch)?;
    let user = match &lease {
        Some(Lease { user, .. }) => {
            let is_handed_over =
                hand_over(file, *user).and_then(|is| Ok(is && hand_over(&disk, *user)?));
            is_handed_over.map_err(scratch)?.then_some(*user)
        }
        None => None,
    };
    let qemu_img = Conversion { program: "qemu-img", file, disk: &disk, import, watch, user };
    qemu_img.run(&["check", "--image-opts", &input], &SOUND)?;
    let options = ["-O", "raw", "-S", "4k", "-t", "writeback"];
    let convert = [&["convert", "--image-opts"], &options[..], &[&input, "/dev/fd/1"]].concat();
    qemu_img.run(&convert, &[])?;
    Ok(disk)
}

/// A user for the program; none where we can't make it another one than we are.
fn lease(import: &FileImport<'_>, watch: &dyn Watch) -> Result<Option<Lease>, ForeignError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let taken = Lease::take(import.patience, || watch.is_cancelled());
    match taken.map_err(|source| ForeignError::Io { path: "/run".into(), source })? {
        Some(lease) => Ok(Some(lease)),
        None if watch.is_cancelled() => Err(ArchiveError::Cancelled.into()),
        None => {
            let (path, patience) = (import.path.to_owned(), import.patience);
            Err(ForeignError::Patience { path, patience })
        }
    }
}

/// Gives a file to the user that the program will be; false where it will be who we are.
fn hand_over(file: &File, user: u32) -> io::Result<bool> {
    match fchown(file, Some(Uid::from_raw(user)), Some(Gid::from_raw(user))) {
        Ok(()) => Ok(true),
        // Root of a namespace that has no such user, or without the capability.
        Err(Errno::EINVAL | Errno::EPERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// A program that may do little; its own arguments are yet to come.
pub(super) fn sandbox(program: &str, import: &FileImport<'_>, user: Option<u32>) -> Command {
    let mut command = Command::new("setpriv");
    // When the thread that started it ends, not only the process: that thread waits for it.
    command.args(["--no-new-privs", "--pdeathsig", "KILL"]);
    if let Some(user) = user {
        let user = user.to_string();
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all"]);
    }
    let longest = import.largest.max(LONGEST_SAID);
    let seconds = import.patience.as_secs().max(1);
    command.args(["--", "prlimit", "--as=2147483648", "--core=0"]);
    command.arg(format!("--fsize={longest}")).arg(format!("--cpu={seconds}"));
    command.args(["--", program]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

/// Runs of `qemu-img` with a file as standard input, and one for the disk as standard output.
pub(super) struct Conversion<'a> {
    pub(super) program: &'a str,
    pub(super) file: &'a File,
    pub(super) disk: &'a File,
    pub(super) import: &'a FileImport<'a>,
    pub(super) watch: &'a dyn Watch,
    /// The files are this user's, so the program is to be it.
    pub(super) user: Option<u32>,
}

impl Conversion<'_> {
    /// Fails unless it ends with 0 or one of the codes that are good too.
    pub(super) fn run(&self, arguments: &[&str], good: &[i32]) -> Result<(), ForeignError> {
        let in_scratch = |source| in_scratch(self.import, source);
        let said = nameless(self.import.scratch).map_err(in_scratch)?;
        let mut command = sandbox(self.program, self.import, self.user);
        command.args(arguments);
        command.stdin(self.file.try_clone().map_err(in_scratch)?);
        command.stderr(said.try_clone().map_err(in_scratch)?);
        // What a check tells there is of no use, and would become part of the disk.
        let is_conversion = arguments.contains(&"/dev/fd/1");
        let output = self.disk.try_clone().map_err(in_scratch)?;
        command.stdout(if is_conversion { Stdio::from(output) } else { Stdio::null() });
        let status = wait(&mut command, self.disk, self.import, self.watch)?;
        if status.success() || status.code().is_some_and(|code| good.contains(&code)) {
            return Ok(());
        }
        let mut text = Vec::new();
        let mut reader = &said;
        let read = reader.seek(SeekFrom::Start(0));
        let _ = read.and_then(|_| reader.take(2000).read_to_end(&mut text));
        let said = String::from_utf8_lossy(&text).trim().escape_debug().to_string();
        // Of setpriv(1) and prlimit(1), which have not become it.
        if matches!(status.code(), Some(126 | 127)) {
            return Err(ForeignError::Program(io::Error::other(said)));
        }
        // strerror(3)'s text for ENOSPC, which is what qemu-img says of it.
        if is_conversion && said.contains("No space left on device") {
            return Err(ForeignError::Room { path: self.import.scratch.into() });
        }
        Err(ForeignError::Conversion { path: self.import.path.into(), status, said })
    }
}

/// Runs a program to its end, at most as long as it may take.
fn wait(
    command: &mut Command,
    disk: &File,
    import: &FileImport<'_>,
    watch: &dyn Watch,
) -> Result<ExitStatus, ForeignError> {
    /// How often it is looked after.
    const INTERVAL: Duration = Duration::from_millis(20);
    let io = ForeignError::Program;
    let begin = Instant::now();
    let mut child = command.spawn().map_err(io)?;
    loop {
        if let Some(status) = child.try_wait().map_err(io)? {
            return Ok(status);
        }
        let is_late = begin.elapsed() > import.patience;
        let room = check_room(import);
        if is_late || room.is_err() || watch.is_cancelled() {
            // Nobody forked: setpriv and prlimit have become qemu-img.
            let _ = child.kill();
            let _ = child.wait();
            room?;
            let (path, patience) = (import.path.to_owned(), import.patience);
            let late = ForeignError::Patience { path, patience };
            return Err(if is_late { late } else { ArchiveError::Cancelled.into() });
        }
        if let Ok(about) = disk.metadata() {
            let written = about.blocks() * 512;
            watch.tell(Progress { done: written, total: about.size(), written });
        }
        std::thread::sleep(INTERVAL);
    }
}
