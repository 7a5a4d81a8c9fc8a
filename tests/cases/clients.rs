//! Other clients than cloud-init, unmodified, as Debian and PyPI package them, through the eBPF path.
//!
//! Each runs in a namespace that looks to it like a machine of its cloud, finds the service by
//! itself (an address or a name that it has built in), and must see what the operator seeded.

use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    process::Background,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n ada";
const OTHER_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKTu3ewZ3Nq0vXnE0lH0zR1mJZ6vXqYxkqgq0Yx2a7bD ada";
/// What ignition reads; to the others it is any text.
const USER_DATA: &str = r#"{"ignition": {"version": "3.3.0"}, "storage": {"files": [
    {"path": "/etc/ignited", "contents": {"source": "data:,yes"}}]}}"#;
/// In seconds. All of them take a fraction of one.
const BOUND: u32 = 30;

/// A guest of one dialect, and the machine that clients run in.
struct Cloud {
    machine: ClientMachine,
    documents: Vec<Value>,
    _guest: NamespaceGuest,
    lab: Lab,
}

impl Cloud {
    fn of(dialect: &str, more: &Value) -> Self {
        let lab = Lab::start().unwrap();
        let mut all = json!({"ssh_keys": [KEY], "user_data": USER_DATA, "dialects": [dialect]});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &all);
        documents.last_mut().unwrap()["hostname"] = "woken".into();
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        let smbios = lab.operator.smbios("tenant-a", "guest").unwrap();
        let machine = ClientMachine::make(&guest, &smbios, lab.directory()).unwrap();
        Self { machine, documents, _guest: guest, lab }
    }

    fn shown(&self) -> Value {
        let shown = ["get", "instance", "guest", "-p", "tenant-a", "-o", "json"];
        serde_json::from_str(&self.lab.operator.run(&shown).unwrap()).unwrap()
    }

    fn instance_id(&self) -> String {
        self.shown()["status"]["id"].as_str().unwrap().to_owned()
    }

    /// Runs a driver with Debian's Python, and gives the JSON that it prints.
    fn python(&self, script: &str, arguments: &[&str]) -> Value {
        self.machine.write("/root/driver.py", script).unwrap();
        let words: Vec<&str> =
            ["python3", "/root/driver.py"].iter().chain(arguments).copied().collect();
        serde_json::from_str(&self.machine.output(BOUND, &words).unwrap()).unwrap()
    }

    /// The same with the packages that come from PyPI.
    fn pypi(&self, script: &str, arguments: &[&str]) -> Value {
        self.machine.write("/root/driver.py", script).unwrap();
        let words: Vec<&str> = ["env", "PYTHONPATH=/opt/clients", "python3", "/root/driver.py"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        serde_json::from_str(&self.machine.output(BOUND, &words).unwrap()).unwrap()
    }
}

/// Fails unless each of these is a line.
fn assert_lines(text: &str, wanted: &[&str]) {
    for line in wanted {
        assert!(text.lines().any(|it| it == *line), "no line {line:?} in:\n{text}");
    }
}

/// What cloud-init has at a second boot, after the user-data was changed.
fn second_boot(dialect: &str, source: &str) -> Value {
    let cloud = Cloud::of(dialect, &json!({}));
    let boot = || cloud.python(include_str!("clients/cloud_init_boot.py"), &[source]);
    let first = boot();
    assert_eq!(first, json!({"user_data": USER_DATA, "is_stored": false, "is_new": true}));
    let mut documents = cloud.documents.clone();
    documents.last_mut().unwrap()["user_data"] = "#cloud-config\n{}\n".into();
    cloud.lab.operator.apply(&documents).unwrap();
    boot()
}

#[test]
fn cloud_init_reads_anew_at_each_boot_where_it_cant_know_its_instance() {
    for (dialect, source) in [("ec2", "Ec2"), ("gce", "GCE"), ("nocloud", "NoCloud")] {
        let expected = json!({
            "user_data": "#cloud-config\n{}\n", "is_stored": false, "is_new": false,
        });
        assert_eq!(second_boot(dialect, source), expected, "{dialect}");
    }
}

#[test]
fn cloud_init_takes_what_it_has_stored_where_smbios_tells_it_its_instance() {
    let expected = json!({"user_data": USER_DATA, "is_stored": true, "is_new": false});
    assert_eq!(second_boot("openstack", "OpenStack"), expected);
}

#[test]
fn ubuntus_ec2metadata_shows_what_was_seeded() {
    let cloud = Cloud::of("ec2", &json!({}));
    let text = cloud.machine.output(BOUND, &["ec2metadata"]).unwrap();
    let id = format!("instance-id: {}", cloud.instance_id());
    let mac = format!("mac: {MAC}");
    let keys = format!("public-keys: ['{KEY}']");
    assert_lines(
        &text,
        &[
            &id,
            &mac,
            &keys,
            "local-hostname: woken",
            "local-ipv4: 192.168.0.10",
            "availability-zone: local-1a",
        ],
    );
}

#[test]
fn amazons_ec2_metadata_shows_what_was_seeded_with_a_token() {
    let cloud = Cloud::of("ec2", &json!({"tokens": "required", "tags": {"role": "front"}}));
    let text = cloud.machine.output(BOUND, &["ec2-metadata", "--all"]).unwrap();
    let id = format!("instance-id: {}", cloud.instance_id());
    assert_lines(
        &text,
        &[
            &id,
            KEY,
            "local-hostname: woken",
            "local-ipv4: 192.168.0.10",
            "placement: local-1a",
            "\t role: front",
        ],
    );
}

#[test]
fn botocore_finds_its_region_and_no_role_with_a_token() {
    let cloud = Cloud::of("ec2", &json!({"tokens": "required"}));
    let found = cloud.python(include_str!("clients/botocore_imds.py"), &[]);
    assert_eq!(found, json!({"region": "local-1", "credentials": {}}));
}

#[test]
fn the_library_ec2_metadata_reads_its_every_property_with_a_token() {
    let cloud = Cloud::of("ec2", &json!({"tokens": "required", "tags": {"role": "front"}}));
    let found = cloud.pypi(include_str!("clients/every_property.py"), &[]);
    let instance = &found["instance"];
    assert_eq!(instance["instance_id"], cloud.instance_id());
    assert_eq!(instance["instance_identity_document"]["instanceId"], cloud.instance_id());
    assert_eq!(instance["public_keys"], json!({"ada": format!("{KEY}\n")}));
    assert_eq!(instance["tags"], json!({"role": "front"}));
    assert_eq!(instance["user_data"], USER_DATA);
    assert_eq!(instance["region"], "local-1");
    let card = &found["cards"][MAC];
    assert_eq!(card["private_ipv4s"], json!(["192.168.0.10"]));
    assert_eq!(card["subnet_ipv4_cidr_block"], "192.168.0.0/24");
    let groups = card["security_group_ids"].as_array().unwrap();
    assert!(groups.len() == 1 && groups[0].as_str().unwrap().starts_with("sg-"), "{groups:?}");
}

/// Lets ignition fetch its config as at a first boot of this platform.
fn assert_ignites(platform: &str, dialect: &str, tokens: &str) {
    let cloud = Cloud::of(dialect, &json!({"tokens": tokens}));
    let ignition = "/usr/lib/dracut/modules.d/30ignition/ignition";
    let fetch = ["--stage=fetch", "--root=/tmp", "--config-cache=/root/config", "--log-to-stdout"];
    let words: Vec<&str> =
        [ignition, "--platform", platform].iter().chain(&fetch).copied().collect();
    let log = cloud.machine.output(BOUND, &words).unwrap();
    assert!(!log.contains("attempt #2"), "{log}");
    let config: Value = serde_json::from_str(&cloud.machine.read("/root/config").unwrap()).unwrap();
    assert_eq!(config["storage"]["files"][0]["path"], "/etc/ignited", "{config}");
}

#[test]
fn ignition_fetches_its_config_from_the_ec2_dialect_with_a_token() {
    assert_ignites("aws", "ec2", "required");
}

#[test]
fn ignition_fetches_its_config_from_the_openstack_dialect() {
    assert_ignites("openstack", "openstack", "optional");
}

#[test]
fn ignition_fetches_its_config_from_the_gce_dialect() {
    assert_ignites("gcp", "gce", "optional");
}

#[test]
fn ignition_fetches_its_config_from_the_azure_dialect() {
    assert_ignites("azure", "azure", "optional");
}

#[test]
fn ignition_fetches_its_config_from_the_digitalocean_dialect() {
    assert_ignites("digitalocean", "digitalocean", "optional");
}

#[test]
fn ignition_fetches_its_config_from_the_vultr_dialect() {
    assert_ignites("vultr", "vultr", "optional");
}

#[test]
fn googles_script_runner_runs_the_startup_script() {
    let script = "echo started > /root/started";
    let cloud = Cloud::of("gce", &json!({"tags": {"startup-script": script}}));
    let log = cloud.machine.output(BOUND, &["google_metadata_script_runner", "startup"]).unwrap();
    assert!(log.contains("startup-script exit status 0"), "{log}");
    assert_eq!(cloud.machine.read("/root/started").unwrap(), "started\n");
}

#[test]
fn googles_guest_agent_makes_the_account_tells_its_host_keys_and_follows_a_new_key() {
    let ada = |keys: &[&str]| json!([{"name": "ada", "sudo": true, "ssh_keys": keys}]);
    let cloud = Cloud::of("gce", &json!({"users": ada(&[KEY])}));
    let log = cloud.lab.directory().join("google_guest_agent.log");
    let mut command = cloud.machine.command(&["google_guest_agent"]);
    let mut agent = Background::start("google_guest_agent", &mut command, &log).unwrap();
    let mut until_held = |key: &str| {
        wait::until("the key of ada", SOON, || {
            agent.ensure_running()?;
            let keys = cloud.machine.read("/home/ada/.ssh/authorized_keys")?;
            anyhow::ensure!(keys.lines().any(|line| line == key), "it is {keys}");
            Ok(())
        })
        .unwrap();
    };
    until_held(KEY);
    let host_key = cloud.machine.read("/etc/ssh/ssh_host_ed25519_key.pub").unwrap();
    let host_key = host_key.split(' ').nth(1).unwrap();
    wait::until("the host's key at the operator", SOON, || {
        let shown = cloud.shown();
        let told = &shown["status"]["guest_attributes"]["hostkeys/ssh-ed25519"];
        anyhow::ensure!(told == host_key, "{told}");
        Ok(())
    })
    .unwrap();
    let mut documents = cloud.documents.clone();
    documents.last_mut().unwrap()["users"] = ada(&[KEY, OTHER_KEY]);
    cloud.lab.operator.apply(&documents).unwrap();
    until_held(OTHER_KEY);
    // There is no systemd to restart anything with.
    let log = agent.log();
    let mut faults = log.lines().filter(|it| it.contains("ERROR") && !it.contains("systemctl"));
    assert_eq!(faults.next(), None, "{log}");
}

#[test]
fn googles_libraries_find_project_account_and_instance() {
    let cloud = Cloud::of("gce", &json!({}));
    let found = cloud.pypi(include_str!("clients/google_libraries.py"), &[]);
    assert_eq!(found["on_gce"], true);
    assert_eq!(found["ping"], true);
    assert_eq!(found["project"], "tenant-a");
    assert_eq!(found["default_project"], "tenant-a");
    assert_eq!(found["account"]["scopes"], json!([]));
    assert_eq!(found["instance"]["hostname"], "woken");
    assert_eq!(found["instance"]["networkInterfaces"][0]["ip"], "192.168.0.10");
    // Nobody here speaks for Google; what matters is that it says so at once.
    assert_eq!(found["token"], "refused");
}

/// Lets one of cloudbase-init's services read a guest.
fn cloudbase_init(dialect: &str, module: &str, kind: &str, hostname: &str) -> (Cloud, Value) {
    let user = json!({"name": "ada", "ssh_keys": [KEY]});
    // Google's keys are of users; the others' are of the image's own.
    let more = match dialect {
        "gce" => json!({"ssh_keys": [], "users": [user]}),
        "cloudstack" => json!({"secrets": {"password": "Sekrit Squirrel"}}),
        _ => json!({}),
    };
    let cloud = Cloud::of(dialect, &more);
    let found = cloud.pypi(include_str!("clients/cloudbase_init.py"), &[module, kind]);
    assert_eq!(found["loaded"], true);
    assert_eq!(found["hostname"], hostname);
    assert_eq!(found["keys"], json!([KEY]));
    assert_eq!(found["user_data"], USER_DATA);
    (cloud, found)
}

#[test]
fn cloudbase_init_reads_the_ec2_dialect() {
    let (cloud, found) = cloudbase_init("ec2", "ec2service", "EC2Service", "woken");
    assert_eq!(found["instance_id"], cloud.instance_id());
}

#[test]
fn cloudbase_init_reads_the_gce_dialect() {
    // It takes the instance's name, and not the host's.
    cloudbase_init("gce", "gceservice", "GCEService", "guest");
}

#[test]
fn cloudbase_init_reads_the_openstack_dialect_and_posts_a_password() {
    let (_cloud, found) = cloudbase_init("openstack", "httpservice", "HttpService", "woken");
    let network = &found["network"];
    assert!(network.to_string().contains("192.168.0.10"), "{network}");
    assert_eq!(found["password_before"], false);
    assert_eq!(found["password_posted"], true);
    assert_eq!(found["password_after"], true);
}

#[test]
fn cloudbase_init_reads_the_cloudstack_dialect_and_takes_the_password_once() {
    let (cloud, found) = cloudbase_init("cloudstack", "cloudstack", "CloudStack", "woken");
    assert_eq!(found["instance_id"], cloud.instance_id());
    // It acknowledges as soon as it has read.
    assert_eq!(found["passwords"], json!(["Sekrit Squirrel", null]));
    assert_eq!(found["password_changed"], false);
}

#[test]
fn azures_linux_agent_takes_the_service_for_its_own() {
    let cloud = Cloud::of("azure", &json!({}));
    let found = cloud.python(include_str!("clients/waagent_imds.py"), &[]);
    assert_eq!(found["valid"], true, "{found}");
    assert_eq!(found["compute"]["name"], "guest");
    assert_eq!(found["compute"]["vmSize"], "m1.small");
    assert_eq!(found["compute"]["location"], "local-1");
    assert_eq!(found["compute"]["osType"], "Linux");
}
