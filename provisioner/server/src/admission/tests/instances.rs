//! Rules of an instance's own fields: passwords, tags, and what else a guest is told.

use super::*;

#[test]
fn a_password_is_a_hash_or_made_by_a_guest_that_can_seal_it() {
    let world = World::seeded();
    let user = |fields: Value| {
        let user = with(json!({ "name": "a" }), fields);
        instance("web", json!({ "ports": ["web-0"], "users": [user] }))
    };
    let hash = format!("$6$salt${}", "a".repeat(86));
    assert!(world.admit(&json!([user(json!({ "password": { "hash": hash } }))])).is_ok());
    let generate = json!({ "generate": true });
    let good = user(json!({ "password": generate, "ssh_keys": [KEY] }));
    assert!(world.admit(&json!([good])).is_ok());
    let none = user(json!({ "password": generate }));
    assert!(world.fault(none).ends_with("first key, and there is none"));
    let ecdsa = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
    let unsealable = user(json!({ "password": generate, "ssh_keys": [ecdsa, KEY] }));
    assert!(world.fault(unsealable).contains("only RSA and Ed25519 keys can be sealed to"));
    for plain in [json!("hunter2"), json!({ "plain": "hunter2" }), json!({ "generate": false })] {
        let fault = world.fault(user(json!({ "password": plain })));
        assert_eq!(
            fault,
            "0:users[0].password: a password is given as its hash, or made by the guest"
        );
    }
}

#[test]
fn tags_can_be_segments_of_a_path() {
    let world = World::seeded();
    let tagged = |tags: Value| instance("web", json!({ "ports": ["web-0"], "tags": tags }));
    assert!(
        world
            .admit(&json!([tagged(json!({ "a.b:c@d+e=f,g_h-I": "any välue", "=0": "" }))]))
            .is_ok()
    );
    for bad in ["", "a/b", "a b", "ä", ".", "..", "_index", "aws:x", "0=x", &"x".repeat(129)] {
        let fault = world.fault(tagged(json!({ bad: "v" })));
        assert!(fault.starts_with("0:tags"), "{fault}");
    }
    for bad in ["a\nb".to_owned(), "x".repeat(257)] {
        assert!(world.fault(tagged(json!({ "k": bad }))).starts_with("0:tags.k: "));
    }
}

#[test]
fn an_instances_other_fields_keep_their_rules() {
    let world = World::seeded();
    for (fields, path) in [
        (json!({ "hostname": "a_b" }), "hostname"),
        (json!({ "hostname": "x".repeat(64) }), "hostname"),
        (json!({ "ports": [] }), "ports"),
        (json!({ "ports": ["web-0", "web-0"] }), "ports[1]"),
        (json!({ "ports": ["web-1"] }), "ports[0]"),
        (json!({ "user_data": "a", "user_data_base64": "YQ==" }), "user_data_base64"),
        (json!({ "user_data_base64": "%" }), "user_data_base64"),
        (json!({ "user_data": "x".repeat((1 << 20) + 1) }), "user_data"),
        (json!({ "user_data": "(sealed)" }), "user_data"),
        (json!({ "secrets": { "x": "(sealed)" } }), "secrets.x"),
        (json!({ "secrets": { "x": "" } }), "secrets.x"),
        (json!({ "tokens": "sometimes" }), "tokens"),
        (json!({ "hop_limit": 65 }), "hop_limit"),
        (json!({ "hop_limit": 0 }), "hop_limit"),
        (json!({ "dialects": [] }), "dialects"),
        (json!({ "dialects": ["ec3"] }), "dialects[0]"),
        (json!({ "dialects": ["cloudstack", "ec2"] }), "dialects"),
        (json!({ "zone": "aa" }), "zone"),
        (json!({ "image_id": "ami-1" }), "image_id"),
        (json!({ "users": [{ "name": "a" }, { "name": "a" }] }), "users[1].name"),
        (json!({ "users": [{ "name": "a", "shell": "sh" }] }), "users[0].shell"),
        (json!({ "users": [{ "name": "a", "groups": ["A"] }] }), "users[0].groups[0]"),
        (json!({ "block_devices": { "root": "a b" } }), "block_devices.root"),
    ] {
        let fault = world.fault(with(instance("web", json!({ "ports": ["web-0"] })), fields));
        assert_eq!(fault.split(": ").next().unwrap(), format!("0:{path}"), "{fault}");
    }
}

#[test]
fn defaults_are_those_that_the_documentation_names() {
    let world = World::seeded();
    let held = world.state.instance(&"p".parse().unwrap(), &"web".parse().unwrap()).unwrap();
    let made = &held.record.instance;
    assert_eq!((&*made.hostname, made.zone, u8::from(made.hop_limit)), ("web", 'a', 1));
    assert_eq!(made.dialects.len(), mezame_model::Dialect::DEFAULT.len());
    assert_eq!(made.launched_at, world.environment.now_ms() / 1000);
    let network = world.state.network(&"p".parse().unwrap(), &"lan".parse().unwrap()).unwrap();
    assert_eq!(network.record.mtu, 1450);
}
