//! QEMU's programs as the tests start them: killed when dropped, awaited by their sockets.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A process of a test's own.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until all of its sockets are there.
    pub(crate) fn start(command: &mut Command, sockets: &[&Path]) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut daemon = Self(child);
        let begin = Instant::now();
        while !sockets.iter().all(|socket| is_listening(socket)) {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "{command:?} ended");
            assert!(begin.elapsed() < Duration::from_secs(60), "{command:?} made no socket");
            thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// QEMU's storage daemon, with a monitor at this socket, and further ones that its words name.
    pub(crate) fn storage(socket: &Path, others: &[&Path], further: &[String]) -> Self {
        let mut command = Command::new("qemu-storage-daemon");
        command
            .arg("--chardev")
            .arg(format!("socket,id=qmp,path={},server=on,wait=off", socket.display()))
            .args(["--monitor", "chardev=qmp"])
            .args(further);
        Self::start(&mut command, &[&[socket], others].concat())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or about to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody accepts connections there: a socket has its name before it does.
fn is_listening(socket: &Path) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path, where __SO_ACCEPTCON is 0x10000.
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some("00010000") && fields.last() == socket.to_str()
    })
}
