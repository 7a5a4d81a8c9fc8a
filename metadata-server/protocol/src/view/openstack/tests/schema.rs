//! As much of JSON Schema as nova's schema of `network_data.json` uses.
//!
//! A keyword that this file doesn't know makes the test fail, so nothing of the schema is passed
//! over. Patterns are not run but replaced: each of them describes an address, and what is one is
//! better said by a parser. The schema is in `testdata/openstack`, with where it comes from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{ip_mask_to_prefix, ipv4_mask_to_prefix};
use mezame_model::MacAddress;
use serde_json::Value;

/// Fails unless the value is what the schema describes.
pub(super) fn check(value: &Value) {
    let text = include_str!("../../../../testdata/openstack/network_data.schema.json");
    let root: Value = serde_json::from_str(text).unwrap();
    let faults = faults(&root, &root, value, "");
    assert!(faults.is_empty(), "{faults:#?}\nin {value:#}");
}

/// What of the value the schema doesn't allow, each with its path.
fn faults(root: &Value, schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "id" | "title" | "description" | "examples" | "definitions" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                let target = root.pointer(pointer).unwrap_or_else(|| panic!("{pointer}"));
                out.extend(faults(root, target, value, path));
                true
            }
            "type" => is_of_type(rule.as_str().unwrap(), value),
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|it| it >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|it| it <= rule.as_f64().unwrap()),
            "required" => {
                let names = rule.as_array().unwrap().iter();
                names.into_iter().all(|name| value.get(name.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (name, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        out.extend(faults(root, rule, value, &format!("{path}/{name}")));
                    }
                }
                true
            }
            "items" => {
                for (at, value) in value.as_array().into_iter().flatten().enumerate() {
                    out.extend(faults(root, rule, value, &format!("{path}/{at}")));
                }
                true
            }
            "oneOf" | "anyOf" => {
                let rules = rule.as_array().unwrap().iter();
                let times = rules.filter(|rule| faults(root, rule, value, path).is_empty()).count();
                times == 1 || (keyword == "anyOf" && times > 1)
            }
            "pattern" => {
                let name = schema["$id"].as_str().unwrap().rsplit('/').next().unwrap();
                value.as_str().is_some_and(|text| is_address(name, text))
            }
            other => panic!("the schema has {other}, which this test doesn't know"),
        };
        if !holds {
            out.push(format!("{path}: {keyword} {rule}, not {value}"));
        }
    }
    out
}

fn is_of_type(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("the schema has the type {other}, which this test doesn't know"),
    }
}

/// Whether the text is what the definition of this name wants.
fn is_address(definition: &str, text: &str) -> bool {
    match definition {
        "l2_address" => text.parse::<MacAddress>().is_ok(),
        "l3_ipv4_host" | "l3_ipv4_nw" | "l3_ipv4_gateway" => text.parse::<Ipv4Addr>().is_ok(),
        "l3_ipv6_host" | "l3_ipv6_nw" | "l3_ipv6_gateway" => text.parse::<Ipv6Addr>().is_ok(),
        "l3_ipv4_netmask" => text.parse().is_ok_and(|mask| ipv4_mask_to_prefix(mask).is_ok()),
        "l3_ipv6_netmask" => text
            .parse::<IpAddr>()
            .is_ok_and(|mask| mask.is_ipv6() && ip_mask_to_prefix(mask).is_ok()),
        other => panic!("the schema has a pattern for {other}, which this test doesn't know"),
    }
}

#[test]
fn the_schema_is_not_satisfied_by_what_it_does_not_describe() {
    let text = include_str!("../../../../testdata/openstack/network_data.schema.json");
    let root: Value = serde_json::from_str(text).unwrap();
    let faults_of = |json: &str| faults(&root, &root, &serde_json::from_str(json).unwrap(), "");
    assert_eq!(faults_of(r#"{"links": [], "networks": [], "services": []}"#), [""; 0]);
    let link = |link: &str| {
        faults_of(&format!(r#"{{"links": [{link}], "networks": [], "services": []}}"#))
    };
    assert_eq!(
        link(r#"{"id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:00:00:01"}"#),
        [""; 0]
    );
    for wrong in [
        r#"{"id": "a", "type": "phy"}"#,
        r#"{"id": "a", "type": "eth", "ethernet_mac_address": "52:54:00:00:00:01"}"#,
        r#"{"id": "a", "type": "phy", "ethernet_mac_address": "52:54"}"#,
        r#"{"id": "a", "type": "phy", "mtu": 0, "ethernet_mac_address": "52:54:00:00:00:01"}"#,
    ] {
        assert_eq!(link(wrong).len(), 1, "{wrong}");
    }
    assert_eq!(faults_of(r#"{"links": []}"#).len(), 1);
}
