//! Linux in a directory of its own: the contract, and what users could do against it.

mod network;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use super::*;
use crate::platform::{
    contract::{self, Observe},
    running,
};

struct InDirectory {
    linux: Linux,
    root: tempfile::TempDir,
}

fn guest() -> InDirectory {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
    fs::write(root.path().join("etc/group"), "root:x:0:\n").unwrap();
    let settings = Settings {
        root: root.path().to_owned(),
        configure_network: false,
        script_timeout: Some(Duration::from_secs(1)),
        ..Settings::default()
    };
    InDirectory { linux: Linux::new(&settings).unwrap(), root }
}

impl InDirectory {
    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn with_user(self, name: &str) -> Self {
        self.linux.ensure_account(&Account::named(name)).unwrap();
        self
    }
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $result:ty;)*) => {
        $(fn $name(&self, $($argument: $kind),*) -> $result { self.linux.$name($($argument),*) })*
    };
}

impl Platform for InDirectory {
    delegate! {
        facts() -> Result<Facts>;
        open_path(device: &str, endpoint: IpAddr) -> Result<EndpointPath>;
        close_path(path: &EndpointPath, keep_route: bool) -> Result<()>;
        guard_network(interfaces: &[(&str, &Interface)]) -> Result<Option<Box<dyn NetworkGuard + '_>>>;
        recover_network() -> Result<bool>;
        configure_interface(device: &str, interface: &Interface) -> Result<Change>;
        persist_network(interfaces: &[(String, Interface)]) -> Result<Change>;
        set_hostname(name: &str) -> Result<Change>;
        set_own_name(names: &[String]) -> Result<Change>;
        ensure_group(name: &str, members: &[String]) -> Result<Change>;
        set_ssh_passwords(on: bool) -> Result<Change>;
        ensure_account(account: &Account) -> Result<Change>;
        has_account(name: &str) -> Result<bool>;
        stop_account(user: &str) -> Result<Change>;
        start_account(user: &str) -> Result<Change>;
        lock_password(user: &str) -> Result<Change>;
        trust_certificates(all: &[Certificate]) -> Result<Change>;
        set_sudo(user: &str, rules: &[String]) -> Result<Change>;
        authorize_keys(user: &str, keys: &[String]) -> Result<Change>;
        set_password_hash(user: &str, hash: &SecretString) -> Result<Change>;
        opens_volume(device: &str, key: &mezame_model::SecretBytes) -> Result<()>;
        expire_password(user: &str) -> Result<Change>;
        write_file(file: &FileSpec, added: bool) -> Result<Change>;
        run_script(script: &Script) -> Result<(ScriptEnd, String)>;
        install_packages(packages: &Packages) -> Result<Change>;
        grow_root(partition: bool, filesystem: bool) -> Result<Change>;
        set_timezone(zone: &str) -> Result<Change>;
        set_ntp(ntp: &Ntp) -> Result<Change>;
        store_secret(name: &SecretName, value: &SecretString) -> Result<Change>;
        host_keys() -> Vec<String>;
        read_file(path: &str) -> Result<Option<Vec<u8>>>;
        flush() -> Result<()>;
    }
}

impl Observe for InDirectory {
    fn authorized_keys(&self, user: &str) -> Vec<u8> {
        fs::read(self.path(&format!("home/{user}/.ssh/authorized_keys"))).unwrap_or_default()
    }

    fn password_hash(&self, user: &str) -> Option<String> {
        let shadow = fs::read_to_string(self.path("etc/shadow")).ok()?;
        crate::account::field(&shadow, user, 1).map(str::to_owned)
    }

    fn hostname(&self) -> String {
        fs::read_to_string(self.path("etc/hostname")).unwrap().trim().to_owned()
    }

    fn put_authorized_keys(&self, user: &str, text: &[u8]) {
        let directory = self.path(&format!("home/{user}/.ssh"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("authorized_keys"), text).unwrap();
        let home = fs::metadata(self.path(&format!("home/{user}"))).unwrap();
        for path in [directory.clone(), directory.join("authorized_keys")] {
            chown(path, Some(home.uid()), Some(home.gid())).unwrap();
        }
    }
}

/// Fails without root, as owners can be changed by root alone: a test that can't run must not be
/// taken for one that passed.
fn needs_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "root is needed to give files to other users; run this test as root"
    );
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

const KEY: &str = "ssh-ed25519 AAAA me";

#[test]
fn linux_in_a_directory_keeps_the_contract() {
    needs_root();
    contract::suite(&guest());
}

#[test]
fn owner_and_mode_of_an_account_and_its_keys_are_what_sshd_wants() {
    needs_root();
    let guest = guest();
    fs::create_dir_all(guest.path("etc/skel/.config")).unwrap();
    fs::write(guest.path("etc/skel/.profile"), "PATH=x\n").unwrap();
    let guest = guest.with_user("ops");
    guest.linux.authorize_keys("ops", &[KEY.into()]).unwrap();
    for (path, wanted) in [
        ("home/ops", 0o700),
        ("home/ops/.ssh", 0o700),
        ("home/ops/.ssh/authorized_keys", 0o600),
        ("home/ops/.profile", 0o644),
        ("home/ops/.config", 0o700),
    ] {
        let meta = fs::metadata(guest.path(path)).unwrap();
        assert_eq!(
            (mode(&guest.path(path)), meta.uid(), meta.gid()),
            (wanted, 1000, 1000),
            "{path}"
        );
    }
    assert_eq!(mode(&guest.path("etc/shadow")), 0o600);
    assert!(fs::read_to_string(guest.path("etc/shadow")).unwrap().contains("ops:!:"));
}

#[test]
fn links_that_a_user_put_in_the_way_of_its_keys_are_refused_and_followed_nowhere() {
    needs_root();
    for (what, link) in [("directory", ".ssh"), ("file", ".ssh/authorized_keys")] {
        let guest = guest().with_user("ops");
        let victim = guest.path("etc/victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("authorized_keys"), "root's own\n").unwrap();
        let link = guest.path("home/ops").join(link);
        if what == "file" {
            let directory = link.parent().unwrap();
            fs::create_dir(directory).unwrap();
            chown(directory, Some(1000), Some(1000)).unwrap();
            symlink(victim.join("authorized_keys"), &link).unwrap();
        } else {
            symlink(&victim, &link).unwrap();
        }
        let error = guest.linux.authorize_keys("ops", &[KEY.into()]).unwrap_err();
        assert_eq!(error.reason(), "untrusted-path", "{what}: {error}");
        let text = fs::read_to_string(victim.join("authorized_keys")).unwrap();
        assert_eq!(text, "root's own\n", "{what}");
    }
}

#[test]
fn a_hard_link_to_a_secret_is_not_read_into_the_users_file() {
    needs_root();
    let guest = guest().with_user("ops");
    let secret = guest.path("etc/secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let directory = guest.path("home/ops/.ssh");
    fs::create_dir(&directory).unwrap();
    chown(&directory, Some(1000), Some(1000)).unwrap();
    fs::hard_link(&secret, directory.join("authorized_keys")).unwrap();
    let error = guest.linux.authorize_keys("ops", &[KEY.into()]).unwrap_err();
    assert_eq!(error.reason(), "untrusted-path");
    assert_eq!(fs::metadata(&secret).unwrap().uid(), 0);
    // Nor is a file of root's alone that the user found in its home and moved there.
    fs::remove_file(&secret).unwrap();
    fs::set_permissions(directory.join("authorized_keys"), PermissionsExt::from_mode(0o600))
        .unwrap();
    let error = guest.linux.authorize_keys("ops", &[KEY.into()]).unwrap_err();
    assert_eq!(error.reason(), "untrusted-path");
    assert_eq!(fs::metadata(directory.join("authorized_keys")).unwrap().uid(), 0);
}

#[test]
fn a_user_who_swaps_its_directory_all_the_time_never_gets_roots_file() {
    needs_root();
    let guest = guest().with_user("ops");
    let victim = guest.path("etc/victim");
    fs::create_dir(&victim).unwrap();
    let home = guest.path("home/ops");
    let (ssh, aside) = (home.join(".ssh"), home.join("aside"));
    fs::create_dir(&ssh).unwrap();
    chown(&ssh, Some(1000), Some(1000)).unwrap();
    symlink(&victim, &aside).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let flags = nix::fcntl::RenameFlags::RENAME_EXCHANGE;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                nix::fcntl::renameat2(
                    nix::fcntl::AT_FDCWD,
                    &ssh,
                    nix::fcntl::AT_FDCWD,
                    &aside,
                    flags,
                )
                .unwrap();
            }
        });
        let results: Vec<_> = (0..2000)
            .map(|round| guest.linux.authorize_keys("ops", &[format!("{KEY}{round}")]))
            .collect();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(results.iter().any(Result::is_ok), "not once was the directory in place");
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert_eq!(error.reason(), "untrusted-path", "{error}");
        }
    });
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "nothing was written through the link");
}

#[test]
fn a_file_is_not_written_through_a_users_link_but_through_roots_inside_the_root() {
    needs_root();
    let guest = guest().with_user("ops");
    let file = |path: &str| FileSpec {
        path: path.into(),
        content: b"x".to_vec(),
        mode: 0o600,
        owner: None,
        append: false,
    };
    symlink("/etc", guest.path("home/ops/.config")).unwrap();
    std::os::unix::fs::lchown(guest.path("home/ops/.config"), Some(1000), Some(1000)).unwrap();
    let error = guest.linux.write_file(&file("/home/ops/.config/app"), false).unwrap_err();
    assert_eq!(error.reason(), "untrusted-path");
    // An absolute link of root's, as /var/run often is, stays inside the root.
    symlink("/srv", guest.path("opt")).unwrap();
    fs::create_dir(guest.path("srv")).unwrap();
    guest.linux.write_file(&file("/opt/app"), false).unwrap();
    guest.linux.write_file(&file("/opt/../../../../etc/app"), false).unwrap();
    assert!(guest.path("srv/app").exists() && guest.path("etc/app").exists());
}

#[test]
fn the_output_of_a_script_is_kept_for_root_and_has_an_end() {
    let guest = guest();
    let script = |name: &str, body: &str| Script::unix(name, body.as_bytes());
    let body = "#!/bin/sh\necho out; echo err >&2; exit 3\n";
    let (end, tail) = guest.linux.run_script(&script("a", body)).unwrap();
    assert_eq!(end, ScriptEnd::Exited(3));
    assert!(tail.contains("out") && tail.contains("err"));
    let log = guest.path("var/lib/mezame-agent/output/a.log");
    assert_eq!(mode(&log), 0o600);
    let body = "#!/bin/sh\nhead -c 3000000 /dev/zero\n";
    guest.linux.run_script(&script("b", body)).unwrap();
    let long = fs::metadata(guest.path("var/lib/mezame-agent/output/b.log")).unwrap().len();
    assert!(long as usize <= running::MAX_OUTPUT + 100, "{long}");
}

#[test]
fn a_script_that_runs_too_long_ends_with_all_that_it_started() {
    let guest = guest();
    let body = "#!/bin/sh\nsleep 1000 & echo $! > \"$MEZAME_ROOT/child\"; wait\n";
    let script = Script::unix("slow", body.as_bytes());
    assert_eq!(guest.linux.run_script(&script).unwrap().0, ScriptEnd::TimedOut);
    let child = fs::read_to_string(guest.path("child")).unwrap();
    let stat = format!("/proc/{}/stat", child.trim());
    let gone = || fs::read_to_string(&stat).map_or(true, |text| text.contains(") Z "));
    while !gone() {
        std::thread::yield_now();
    }
    let script = Script::unix("signal", b"#!/bin/sh\nkill -9 $$\n");
    assert_eq!(guest.linux.run_script(&script).unwrap().0, ScriptEnd::Killed(9));
}

#[test]
fn the_hosts_file_gets_one_line_of_its_own_name() {
    let guest = guest();
    fs::write(guest.path("etc/hosts"), "127.0.0.1 localhost\n127.0.1.1 old\n10.0.0.1 db\n")
        .unwrap();
    guest.linux.set_own_name(&["web.example".into(), "web".into()]).unwrap();
    assert_eq!(
        fs::read_to_string(guest.path("etc/hosts")).unwrap(),
        "127.0.0.1 localhost\n127.0.1.1 web.example web\n10.0.0.1 db\n"
    );
}

#[test]
fn host_keys_of_both_servers_are_found_and_private_ones_are_not_read() {
    let guest = guest();
    fs::create_dir_all(guest.path("etc/ssh")).unwrap();
    fs::create_dir_all(guest.path("etc/dropbear")).unwrap();
    fs::write(guest.path("etc/ssh/ssh_host_ed25519_key.pub"), "ssh-ed25519 A root@a\n").unwrap();
    fs::write(guest.path("etc/ssh/ssh_host_ed25519_key"), "PRIVATE\n").unwrap();
    fs::write(guest.path("etc/dropbear/dropbear_rsa_host_key.pub"), "ssh-rsa B\n").unwrap();
    assert_eq!(guest.linux.host_keys(), ["ssh-ed25519 A root@a", "ssh-rsa B"]);
}

#[test]
fn a_shut_account_has_expired_and_keeps_its_hash_behind_a_mark() {
    needs_root();
    let guest = guest().with_user("ops");
    let shadow = || fs::read_to_string(guest.path("etc/shadow")).unwrap();
    let hash = SecretString::new("$6$salt$hash".into());
    guest.linux.set_password_hash("ops", &hash).unwrap();
    let open = shadow();
    guest.linux.stop_account("ops").unwrap();
    let shut = shadow();
    let field = |text: &str, at| crate::account::field(text, "ops", at).unwrap().to_owned();
    assert_eq!((field(&shut, 1), field(&shut, 7)), ("!$6$salt$hash".into(), "1".into()));
    guest.linux.start_account("ops").unwrap();
    assert_eq!(shadow(), open);
    guest.linux.lock_password("ops").unwrap();
    assert_eq!((field(&shadow(), 1), field(&shadow(), 7)), ("!$6$salt$hash".into(), "".into()));
}
