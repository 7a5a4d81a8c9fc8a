//! What holds for documents that nobody wrote on purpose.

use proptest::prelude::*;

use super::*;

/// Values that are near to what documents have, and far from it.
fn value() -> impl Strategy<Value = Value> {
    let words = prop::sample::select(vec![
        "",
        "p",
        "lan",
        "web",
        "web-0",
        "Network",
        "10.0.0.0/24",
        "10.0.0.5",
        "192.168.0.10",
        "192.168.0.0/24",
        "52:54:00:00:00:01",
        "(sealed)",
        "required",
        "ec2",
        "a",
        "$6$a$b",
        KEY,
        "0.0.0.0/0",
        "::/0",
        "fe80::/10",
        "255.255.255.255",
        "ffff::/16",
        "tap-web",
        "off",
        "other",
        "fe80::1",
        "[2001:db8::53]:5353",
        "http://192.0.2.1/boot.efi",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..70_000_u64).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 30, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    let known: Vec<String> = Kind::ALL
        .into_iter()
        .flat_map(fields_of)
        .chain(NESTED_FIELDS.iter().flat_map(|(_, fields)| *fields))
        .map(ToString::to_string)
        .collect();
    prop_oneof![4 => prop::sample::select(known), 1 => ".{0,8}"]
}

/// A document whose kind is right and whose other fields are whatever they are.
fn document() -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(Kind::ALL.to_vec());
    (kind, prop::collection::vec((field(), value()), 0..12), any::<bool>()).prop_map(
        |(kind, fields, named)| {
            let mut document = Value::Object(fields.into_iter().collect());
            document["kind"] = kind.as_str().into();
            if named {
                document["project"] = "p".into();
                document["name"] = "web".into();
            }
            document
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn no_documents_make_admission_panic_and_every_fault_is_in_its_document(
        documents in prop::collection::vec(prop_oneof![4 => document(), 1 => value()], 0..6),
    ) {
        let world = World::seeded();
        match world.admit(&json!(documents)) {
            Ok(plan) => prop_assert_eq!(plan.outcome.len(), documents.len()),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                for fault in faults {
                    let document = &documents[fault.document];
                    prop_assert!(leads_somewhere(document, &fault.path), "{:?} in {}", fault, document);
                }
            }
        }
    }

    #[test]
    fn what_was_admitted_is_unchanged_when_it_is_admitted_again(
        vni in 1_u32..50, mtu in 576_u16..9216, prefix in 16_u8..30, ports in 1_usize..6,
        tokens in prop::sample::select(vec!["required", "optional", "off"]),
    ) {
        let mut world = World::empty();
        let mtu = if mtu < 1280 { 1280 } else { mtu };
        let mut documents = vec![
            json!({ "kind": "Project", "name": "p" }),
            json!({ "kind": "Network", "project": "p", "name": "lan", "vni": vni, "mtu": mtu,
                    "subnets": [{ "cidr": format!("10.0.0.0/{prefix}") }, { "cidr": "fd00::/64" }] }),
        ];
        let names: Vec<String> = (0..ports.min((1 << (32 - prefix)) - 2)).map(|n| format!("x{n}")).collect();
        documents.extend(names.iter().map(|name| port(name, json!({}))));
        documents.push(instance("i", json!({ "ports": names, "tokens": tokens })));
        let documents = json!(documents);
        world.apply(&documents);
        let plan = world.admit(&documents).unwrap();
        prop_assert!(plan.changes.is_empty());
        prop_assert!(plan.outcome.iter().all(|c| c.action == mezame_model::api::Action::Unchanged));
    }
}
