//! A QEMU as whoever runs guests starts it, with nothing to boot.

use std::process::{Child, Command};

use mezame_images::qmp::Qmp;

use super::*;

/// A QEMU that was started with volumes, and a monitor of it for the test.
pub(super) struct Machine {
    child: Child,
    qmp: Qmp,
    pub(super) socket: PathBuf,
}

impl Machine {
    pub(super) fn start(folder: &Path, name: &str, starts: &[&Value]) -> Self {
        let (socket, own) = (folder.join(format!("{name}.a")), folder.join(format!("{name}.b")));
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-m", "64"]);
        for start in starts {
            for secret in start["secrets"].as_array().into_iter().flatten() {
                let word = |name: &str| secret[name].as_str().unwrap().to_owned();
                let (id, format, data) = (word("id"), word("format"), word("data"));
                qemu.arg("-object").arg(format!("secret,id={id},format={format},data={data}"));
            }
            qemu.args(["-blockdev", &start["blockdev"].to_string()]);
            qemu.args(["-device", &start["device"].to_string()]);
        }
        for socket in [&socket, &own] {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        }
        let child = qemu.spawn().unwrap();
        let begin = Instant::now();
        let qmp = loop {
            match Qmp::connect(&own, BOUND) {
                Ok(qmp) => break qmp,
                Err(error) => assert!(begin.elapsed() < BOUND, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, qmp, socket }
    }

    pub(super) fn tell(&mut self, command: &str, arguments: Value) -> Value {
        self.qmp.execute(command, arguments).unwrap()
    }

    /// Ends it as an operator does, so that it writes what it keeps.
    pub(super) fn quit(mut self) {
        // The answer may be lost with the socket.
        let _ = self.qmp.execute("quit", json!({}));
        self.child.wait().unwrap();
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.tell("query-status", json!({}))["running"] == true
    }

    /// Copies a volume as a process did that has ended since; waits until all is copied.
    pub(super) fn copied(&mut self, id: &str, target: &Path) {
        let file = json!({ "driver": "file", "filename": target });
        let node = json!({ "driver": "raw", "node-name": format!("{id}.plain"), "file": file });
        self.tell("blockdev-add", node);
        let job = json!({
            "job-id": format!("{id}.hydrate"), "device": id, "target": format!("{id}.plain"),
            "sync": "full", "copy-mode": "write-blocking", "auto-dismiss": false,
        });
        self.tell("blockdev-mirror", job);
        self.until("ready");
    }

    pub(super) fn until(&mut self, status: &str) {
        let begin = Instant::now();
        while self.tell("query-jobs", json!({}))[0]["status"] != status {
            assert!(begin.elapsed() < BOUND);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
