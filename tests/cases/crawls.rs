//! cloud-init's own source of every dialect, unmodified, through the eBPF path.
//!
//! Debian's cloud-init runs in a namespace that looks to it like a machine of the dialect's cloud:
//! it knows the cloud by the SMBIOS strings that the operator tells, crawls it as at a boot, and
//! must find what the operator seeded, with nothing to complain of. What it asked for, and in which
//! order, must be what is recorded in `src/recorded`: the storm and the bench send that again.
//!
//! Not here: what cloud-init then does with it, which is for `guests`.

use std::path::Path;

use mezame_model::InstanceId;
use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    recorded::Recorded,
    wait::{self, SOON},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n \
                   somebody@laptop";
const USER_DATA: &str = "#cloud-config\nruncmd: [[\"true\"]]\n";
const VENDOR_DATA: &str = "#cloud-config\npackages: []\n";
/// How long a crawl may take, in seconds. One takes a fraction of one; a second try or a wait is
/// seen in the log, so this need not be sharp.
const BOUND: u32 = 60;
/// Where CloudStack's clients ask for a password.
const PASSWORD_SERVER: &str = "169.254.169.254:8080";

/// What the driver prints.
#[derive(Debug, Deserialize)]
struct Found {
    found: bool,
    instance_id: String,
    hostname: String,
    keys: Vec<String>,
    zone: Option<String>,
    user_data: Option<String>,
    vendor_data: Option<String>,
    network: Value,
    password: Option<String>,
    complaints: Vec<String>,
    requests: Vec<String>,
}

/// What a dialect's source makes of the seed.
struct Expected {
    dialect: &'static str,
    tokens: &'static str,
    /// How the instance is called, of its id and of its UUID.
    instance_id: fn(&InstanceId, &str) -> String,
    zone: Option<&'static str>,
    vendor_data: Option<&'static str>,
    network: Value,
    password: Option<&'static str>,
}

impl Expected {
    fn of(dialect: &'static str, instance_id: fn(&InstanceId, &str) -> String) -> Self {
        Self {
            dialect,
            tokens: "optional",
            instance_id,
            zone: None,
            vendor_data: Some(VENDOR_DATA),
            network: Value::Null,
            password: None,
        }
    }

    /// Lets the source crawl a guest of this dialect, and compares.
    fn assert_crawled(&self) -> Crawled {
        let lab = Lab::start().unwrap();
        lab.operator.apply(&self.seed()).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        let shown = lab
            .operator
            .run(&["get", "instance", "guest", "-p", "tenant-a", "-o", "json"])
            .unwrap();
        let shown: Value = serde_json::from_str(&shown).unwrap();
        let id: InstanceId = serde_json::from_value(shown["status"]["id"].clone()).unwrap();
        let smbios = lab.operator.smbios("tenant-a", "guest").unwrap();
        let uuid = smbios[0].split_once("uuid=").unwrap().1;
        let machine = ClientMachine::make(&guest, &smbios, lab.directory()).unwrap();
        machine.write("/root/crawl.py", include_str!("crawls/crawl.py")).unwrap();
        let crawled = Crawled { machine, guest, lab };
        let found = crawled.crawl(self.dialect);
        assert_eq!(found.instance_id, (self.instance_id)(&id, uuid));
        assert_eq!(found.hostname, "woken");
        assert_eq!(found.keys, [KEY]);
        assert_eq!(found.zone.as_deref(), self.zone);
        assert_eq!(found.user_data.as_deref(), Some(USER_DATA));
        assert_eq!(found.vendor_data.as_deref(), self.vendor_data);
        assert_eq!(found.network, self.network);
        assert_eq!(found.password.as_deref(), self.password);
        let mut asked = Recorded::of_heads(&found.requests, MAC).unwrap();
        asked.ask(MAC, || crawled.guest.connect()).unwrap();
        self.assert_recorded(&asked);
        crawled
    }

    fn seed(&self) -> Vec<Value> {
        let more = json!({
            "ssh_keys": [KEY], "user_data": USER_DATA, "vendor_data": VENDOR_DATA,
            "dialects": [self.dialect], "tokens": self.tokens,
        });
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        documents.last_mut().unwrap()["hostname"] = "woken".into();
        if let Some(password) = self.password {
            documents.last_mut().unwrap()["secrets"] = json!({"password": password});
        }
        let network = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
        network["subnets"][0]["gateway"] = "192.168.0.1".into();
        network["dns"] = json!(["192.168.0.2"]);
        documents
    }

    fn assert_recorded(&self, asked: &Recorded) {
        if std::env::var_os("MEZAME_RECORD").is_some() {
            let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/recorded");
            std::fs::write(files.join(self.dialect), asked.text()).unwrap();
            panic!("recorded anew, so nothing was compared; run it again without MEZAME_RECORD");
        }
        let recorded = Recorded::crawl(self.dialect).unwrap();
        assert_eq!(
            asked.text(),
            recorded.text(),
            "it asks for something else now; MEZAME_RECORD=1 records it"
        );
    }
}

/// A guest that was crawled, and the machine that it was crawled in.
struct Crawled {
    machine: ClientMachine,
    guest: NamespaceGuest,
    lab: Lab,
}

impl Crawled {
    /// Lets the source of the dialect crawl, as at each boot: it must complain of nothing.
    fn crawl(&self, dialect: &str) -> Found {
        let words = ["python3", "/root/crawl.py", dialect];
        let printed = self.machine.output(BOUND, &words).unwrap();
        let found: Found = serde_json::from_str(&printed).unwrap();
        assert_eq!(found.complaints, [""; 0]);
        assert!(found.found, "the source says that it is not on its cloud");
        found
    }

    /// What CloudStack's own script is told, which asks with wget.
    fn password_by_wget(&self) -> anyhow::Result<String> {
        let asked = ["--header", "DomU_Request: send_my_password", PASSWORD_SERVER];
        let wget = ["wget", "-q", "-t", "3", "-T", "20", "-O", "-"];
        self.machine.output(BOUND, &[&wget[..], &asked].concat())
    }
}

fn own_id(id: &InstanceId, _: &str) -> String {
    id.as_str().into()
}

fn number(id: &InstanceId, _: &str) -> String {
    id.number().to_string()
}

fn uuid(_: &InstanceId, uuid: &str) -> String {
    uuid.into()
}

/// The card with its address from DHCP, as cloud-init makes it for EC2.
fn by_dhcp() -> Value {
    json!({"version": 2, "ethernets": {"eth0": {
        "match": {"macaddress": MAC}, "set-name": "eth0", "dhcp4": true, "dhcp6": false,
    }}})
}

#[test]
fn cloud_init_crawls_the_ec2_dialect_with_a_token() {
    Expected {
        tokens: "required",
        zone: Some("local-1a"),
        vendor_data: None,
        network: by_dhcp(),
        ..Expected::of("ec2", own_id)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_openstack_dialect() {
    let subnet = json!({
        "type": "static", "ipv4": true, "address": "192.168.0.10", "netmask": "255.255.255.0",
        "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.168.0.1"}],
    });
    Expected {
        zone: Some("local-1a"),
        network: json!({"version": 1, "config": [
            {"type": "physical", "name": "eth0", "mac_address": MAC, "mtu": 1450,
             "subnets": [subnet]},
            {"type": "nameserver", "address": "192.168.0.2"},
        ]}),
        ..Expected::of("openstack", uuid)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_gce_dialect_by_its_name() {
    Expected { zone: Some("local-1-a"), vendor_data: None, ..Expected::of("gce", number) }
        .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_azure_dialect() {
    let mut network = by_dhcp();
    network["ethernets"]["eth0"]["dhcp4-overrides"] = json!({"route-metric": 100});
    Expected {
        // Azure's fault domain, which cloud-init takes for the zone.
        zone: Some("0"),
        vendor_data: None,
        network,
        ..Expected::of("azure", uuid)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_digitalocean_dialect_from_a_random_link_local_address() {
    let subnet = json!({
        "type": "static", "control": "auto", "address": "192.168.0.10",
        "netmask": "255.255.255.0", "gateway": "192.168.0.1",
    });
    Expected {
        zone: Some("local-1"),
        network: json!({"version": 1, "config": [
            {"type": "physical", "name": "eth0", "mac_address": MAC, "subnets": [subnet]},
            {"type": "nameserver", "address": ["192.168.0.2"]},
        ]}),
        ..Expected::of("digitalocean", number)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_hetzner_dialect() {
    let subnet = json!({
        "type": "static", "ipv4": true, "address": "192.168.0.10/24", "gateway": "192.168.0.1",
        "dns_nameservers": ["192.168.0.2"],
    });
    Expected {
        network: json!({"version": 1, "config": [
            {"type": "physical", "name": "eth0", "mac_address": MAC, "mtu": 1450,
             "subnets": [subnet]},
        ]}),
        ..Expected::of("hetzner", number)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_vultr_dialect() {
    let by = |kind: &str| json!({"type": kind, "control": "auto"});
    Expected {
        network: json!({"version": 1, "config": [
            // Of cloud-init's own, whatever it is told.
            {"type": "nameserver", "address": ["108.61.10.10", "2001:19f0:300:1704::6"]},
            {"type": "physical", "name": "eth0", "mac_address": MAC, "mtu": 1450, "accept-ra": 1,
             "subnets": [by("dhcp"), by("ipv6_slaac")]},
        ]}),
        ..Expected::of("vultr", uuid)
    }
    .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_cloudstack_dialect_and_is_given_its_password_once() {
    let mut expected = Expected {
        zone: Some("local-1a"),
        vendor_data: None,
        password: Some("Sekrit Squirrel"),
        ..Expected::of("cloudstack", own_id)
    };
    let crawled = expected.assert_crawled();
    // It has acknowledged it: at the next boot there is none, and the operator is told so.
    assert_eq!(crawled.crawl("cloudstack").password, None);
    assert_eq!(crawled.password_by_wget().unwrap(), "saved_password");
    wait::until("the acknowledgement at the operator", SOON, || {
        let shown = ["get", "instance", "guest", "-p", "tenant-a", "-o", "json"];
        let shown: Value = serde_json::from_str(&crawled.lab.operator.run(&shown)?)?;
        let told = &shown["status"]["secrets"]["password"];
        anyhow::ensure!(told == "consumed", "{shown}");
        Ok(())
    })
    .unwrap();
    let log = || crawled.lab.server.as_ref().unwrap().process.log();
    assert_eq!(log().matches("secret handed out").count(), 1, "{}", log());
    // Another value is another password, as when a tenant has it reset; the last one right after
    // the guest has acknowledged the one before, whoever has heard of that by then.
    for password in ["Nutty Squirrel", "Flying Squirrel"] {
        expected.password = Some(password);
        crawled.lab.operator.apply(&expected.seed()).unwrap();
        wait::until("the other password", SOON, || {
            let told = crawled.password_by_wget()?;
            anyhow::ensure!(told == password, "{told}");
            Ok(())
        })
        .unwrap();
        assert_eq!(crawled.crawl("cloudstack").password.as_deref(), Some(password));
    }
    assert_eq!(crawled.password_by_wget().unwrap(), "saved_password");
    assert!(!log().contains("Squirrel"), "{}", log());
}

#[test]
fn cloud_init_crawls_the_cloudstack_dialect_without_a_password() {
    Expected { zone: Some("local-1a"), vendor_data: None, ..Expected::of("cloudstack", own_id) }
        .assert_crawled();
}

#[test]
fn cloud_init_crawls_the_nocloud_dialect() {
    Expected::of("nocloud", own_id).assert_crawled();
}
