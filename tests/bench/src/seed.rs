//! The documents that the measurements apply: ordinary small instances, each with one port.

use mezame_tests::operator;
use serde_json::{Value, json};

/// The project and its network.
pub const PROJECT: &str = "bench";
const NETWORK: &str = "lan";

/// The subnet, which has room for 100,000 addresses.
pub const CIDR: &str = "10.0.0.0/14";

/// The project and its network, as documents.
pub fn ground() -> Vec<Value> {
    vec![operator::project(PROJECT), operator::network(PROJECT, NETWORK, 1000, CIDR)]
}

/// The name of the `number`th guest's port and instance.
pub fn name(number: u32) -> String {
    format!("guest-{number}")
}

/// The device of the `number`th guest's port.
pub fn device(number: u32) -> String {
    format!("bt{number}")
}

/// The MAC of the `number`th guest's port.
pub fn mac(number: u32) -> String {
    let [a, b, c, d] = number.to_be_bytes();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The address of the `number`th guest's port.
pub fn address(number: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(0x0a00_000a + number)
}

/// The port and the instance of the `number`th guest: a key, a user, two tags, some user-data, as
/// operators commonly give.
pub fn guest(number: u32) -> [Value; 2] {
    let name = name(number);
    let address = address(number).to_string();
    let mut port =
        operator::port(PROJECT, &name, NETWORK, &mac(number), &[&address], &device(number));
    // The limit at the tap is not what is measured.
    port["rate_limit"] = json!({"frames_per_second": u32::MAX, "burst": u32::MAX});
    let more = json!({
        "hostname": name,
        "ssh_keys": [KEY],
        "users": [{"name": "admin", "ssh_keys": [KEY], "sudo": true}],
        "tags": {"role": "web", "owner": "bench"},
        "tokens": "required",
        "user_data": USER_DATA,
    });
    [port, operator::instance(PROJECT, &name, &name, &more)]
}

/// How long a guest's user-data is, in bytes.
pub const USER_DATA_LENGTH: usize = USER_DATA.len();

const USER_DATA: &str = "#!/bin/sh\necho configured > /run/configured\n";

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDDD bench";
