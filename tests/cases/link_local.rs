//! DNS, time and licence activation on a guest's link, over IPv4 and IPv6, with upstreams on the
//! hypervisor that guests have no way to.

mod licences;
mod names;
mod tang;
mod time;
mod upgrade;

use mezame_tests::{
    Lab,
    namespace_guest::NamespaceGuest,
    operator::{instance, port},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// Where upstreams are: on the hypervisor's loopback device, which no guest reaches.
const UPSTREAMS: [&str; 2] = ["198.51.100.53", "2001:db8:ffff::53"];

/// A lab with the upstreams' addresses.
fn lab() -> Lab {
    let lab = Lab::start().unwrap();
    let [ipv4, ipv6] = UPSTREAMS;
    lab.hypervisor.ip(&format!("address add {ipv4} dev lo")).unwrap();
    // To be bound to at once.
    lab.hypervisor.ip(&format!("address add {ipv6} dev lo nodad")).unwrap();
    lab
}

/// A tenant whose network has both families, a domain and these fields more, with a guest that is
/// answered in GCE's dialect too, and a neighbour of the name `db` at these addresses.
fn tenant(name: &str, vni: u32, device: &str, db: [&str; 2], more: &Value) -> Vec<Value> {
    let dialects = json!({"dialects": ["ec2", "gce", "mezame"]});
    let mut documents = seeds::tenant(name, vni, device, &dialects);
    let network = documents.iter_mut().find(|document| document["kind"] == "Network").unwrap();
    network["subnets"] = json!([{"cidr": "192.168.0.0/24"}, {"cidr": "2001:db8:1::/64"}]);
    network["domain"] = "tenant.example".into();
    network.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    seeds::port_of(&mut documents)["addresses"] = json!(["192.168.0.10", "2001:db8:1::10"]);
    documents.push(port(name, "db-port", "lan", "52:54:00:00:00:0b", &db, &format!("{device}db")));
    documents.push(instance(name, "db", "db-port", &json!({})));
    documents
}

/// The tenant's guest, with the routes that it would be told by DHCP.
fn guest(lab: &Lab, device: &str, hostname: &str) -> NamespaceGuest {
    let addresses = ["192.168.0.10/24", "2001:db8:1::10/64 nodad"];
    let guest = lab.guest(device, MAC, &addresses).unwrap();
    for service in ["169.254.169.253", "169.254.169.123", "169.254.169.250", "169.254.169.252"] {
        guest.namespace().ip(&format!("route add {service}/32 dev eth0")).unwrap();
    }
    seeds::until_served(&guest, &format!("{hostname}.tenant.example"));
    guest
}

/// One of the tenant's, with its neighbour at 192.168.0.20 and 2001:db8:1::20.
fn one_guest(lab: &Lab, more: &Value) -> NamespaceGuest {
    let db = ["192.168.0.20", "2001:db8:1::20"];
    lab.operator.apply(&tenant("tenant-a", 1000, "tapa", db, more)).unwrap();
    guest(lab, "tapa", "tenant-a")
}

/// How often this has become of something.
fn counted(lab: &mut Lab, service: &str, outcome: &str) -> f64 {
    let labels = [format!("service=\"{service}\""), format!("outcome=\"{outcome}\"")];
    let metrics = lab.server().metrics().unwrap();
    metrics.sum("mezame_link_local_total", &[&labels[0], &labels[1]])
}
