//! Who gets into a guest when its record changes while it runs: our agent beside OpenSSH's own
//! server, in a machine whose processes are its own.

use std::{fs::File, io::Write, path::Path};

use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    process::Background,
    ssh::{Key, Login, SshTarget},
    tenant::Tenant,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// Of some password: without PAM OpenSSH's server takes an account without one for locked.
const HASH: &str = "$6$saltsalt$h337WrbB304zm.Vi/mdORfrTq9.pFFDsZIGTWoLR8y4wdW4oRyQpMklbMufzcrrhGighGuToeH9/\
    Vi2PYWLsJ1";

/// A machine with an SSH server and our agent in it, and who may come in.
struct Door {
    lab: Lab,
    documents: Vec<Value>,
    target: SshTarget,
    ada: Key,
    own: Key,
    root: Key,
    machine: ClientMachine,
    // In this order: the machine ends before its card does.
    _running: Background,
    _guest: NamespaceGuest,
    _tenant: Tenant,
}

impl Door {
    fn open(pam: &str) -> Self {
        let lab = Lab::start().unwrap();
        let key = |name: &str| Key::generate(lab.directory(), name).unwrap();
        let (ada, own, root) = (key("ada"), key("own"), key("root"));
        let more = json!({"dialects": ["mezame", "ec2"], "ssh_keys": [root.public().unwrap()]});
        let documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        lab.operator.apply(&documents).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        tenant.plug("tapa").unwrap();
        seeds::until_known(&guest);
        let machine = ClientMachine::make(&guest, &[], lab.directory()).unwrap();
        install(&lab.binaries.agent, &machine.path("/usr/sbin/guest-agent"));
        let boot = format!(
            "mount -o remount,bind,suid /; mount -t tmpfs run /run; mkdir -p /run/sshd; ssh-keygen -A > /dev/null
             # As at a boot: from nobody's login, whoever runs this test.
             echo 4294967295 > /proc/self/loginuid
             /usr/sbin/sshd -D -e -o UsePAM={pam} & exec guest-agent watch"
        );
        let log = lab.directory().join("machine.log");
        let mut command = machine.command(&["sh", "-c", &boot]);
        let running = Background::start("the machine", &mut command, &log).unwrap();
        let target = SshTarget::new(tenant.machine(), "192.168.0.10", lab.directory());
        Self {
            lab,
            documents,
            target,
            ada,
            own,
            root,
            machine,
            _running: running,
            _guest: guest,
            _tenant: tenant,
        }
    }

    fn apply(&self, users: &Value) {
        let mut documents = self.documents.clone();
        let instance = documents.iter_mut().find(|it| it["kind"] == "Instance").unwrap();
        instance["users"] = users.clone();
        self.lab.operator.apply(&documents).unwrap();
    }

    fn named(&self, stopped: bool) -> Value {
        json!([{"name": "ada", "ssh_keys": [self.ada.public().unwrap()], "stopped": stopped,
            "sudo": true, "password": {"hash": HASH}}])
    }

    /// With none of the keys ada comes in any more; root does.
    fn until_out(&self) {
        for key in [&self.ada, &self.own] {
            wait::until("ada to be kept out", SOON, || {
                // Without PAM the server says so; with PAM it may end the connection at once.
                let login = self.target.with_key("ada", key, "true");
                anyhow::ensure!(!matches!(login, Ok(Login::In(_))), "she came in");
                Ok(())
            })
            .unwrap();
        }
        self.target.until_in("root", &self.root, "true", SOON).unwrap();
    }
}

fn install(from: &Path, to: &Path) {
    std::fs::copy(from, to).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(to, mode).unwrap();
}

fn who_is_stopped_or_removed_is_out(pam: &str) {
    let door = Door::open(pam);
    door.apply(&door.named(false));
    door.target.until_in("ada", &door.ada, "true", SOON).unwrap();
    // A key of her own making, which is none of the agent's.
    let file = door.machine.path("/home/ada/.ssh/authorized_keys");
    let mut file = File::options().append(true).open(file).unwrap();
    writeln!(file, "{}", door.own.public().unwrap()).unwrap();
    door.target.until_in("ada", &door.own, "true", SOON).unwrap();
    // Only PAM tells the kernel whose login it is: without, a root shell is nobody's.
    let mut asks = vec![("ada", "sleep 100000")];
    if pam == "yes" {
        asks.push(("root", "sudo -n sleep 100000"));
    }
    for (runs_as, ask) in asks {
        let (target, key) = (door.target.clone(), door.ada.clone());
        let session = std::thread::spawn(move || target.with_key("ada", &key, ask));
        // Zombies are left out: nobody here waits for orphans.
        let look = format!("pgrep -u {runs_as} -x -r S sleep || true");
        let running = || match door.target.with_key("root", &door.root, &look)? {
            Login::In(pids) => Ok(!pids.is_empty()),
            Login::Refused => anyhow::bail!("root was refused"),
        };
        wait::until("a session of hers", SOON, || {
            anyhow::ensure!(running()?, "nothing runs");
            Ok(())
        })
        .unwrap();
        door.apply(&door.named(true));
        wait::until("the session's end", SOON, || {
            anyhow::ensure!(session.is_finished() && !running()?, "it goes on");
            Ok(())
        })
        .unwrap();
        assert!(!matches!(session.join().unwrap(), Ok(Login::In(_))), "it ended as it pleased");
        door.until_out();
        door.apply(&door.named(false));
        door.target.until_in("ada", &door.ada, "true", SOON).unwrap();
    }
    door.apply(&door.named(true));
    door.until_out();
    door.apply(&door.named(false));
    for key in [&door.ada, &door.own] {
        assert_eq!(door.target.until_in("ada", key, "id -un", SOON).unwrap(), "ada\n");
    }
    door.apply(&json!([]));
    door.until_out();
}

#[test]
fn who_is_stopped_or_removed_is_out_where_sshd_asks_pam() {
    who_is_stopped_or_removed_is_out("yes");
}

#[test]
fn who_is_stopped_or_removed_is_out_where_sshd_reads_shadow_itself() {
    who_is_stopped_or_removed_is_out("no");
}
