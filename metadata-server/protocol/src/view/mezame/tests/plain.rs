//! What a shell reads, a line at a time.

use super::*;

#[test]
fn a_shell_can_read_a_line_at_a_time() {
    let world = World::new();
    let guest = world.web();
    assert_eq!(world.text(&guest, "/mezame/v1/hostname"), "web-0.acme.example\n");
    assert_eq!(
        world.text(&guest, "/mezame/v1/interfaces/52:54:00:ab:cd:02/addresses"),
        "10.1.0.10/20\n10.1.0.11/20\n"
    );
    let keys = world.text(&guest, "/mezame/v1/ssh-keys");
    assert!(keys.ends_with('\n') && keys.lines().count() == 3);
}

#[test]
fn further_routes_are_told_in_the_document_and_to_a_shell_with_their_routers() {
    let world = World::new();
    let mut guest = world.routed_in(mezame_model::Dialect::Mezame);
    let shown = document(&world.get(&guest, DOCUMENT));
    let routes: Vec<String> = shown.interfaces[0]
        .routes
        .iter()
        .map(|route| format!("{} {}", route.destination, route.via))
        .collect();
    assert_eq!(routes, ["10.20.0.0/16 192.168.0.2", "2001:db8:9::/48 fe80::2"]);
    assert!(shown.interfaces[1].routes.is_empty());
    let path = format!("/mezame/v1/interfaces/{}/routes", guest.ports[0].port.mac);
    assert_eq!(world.text(&guest, &path), "10.20.0.0/16 192.168.0.2\n2001:db8:9::/48 fe80::2\n");
    // Where there are none, the document reads as it did before there was such a field.
    guest.ports = guest.ports[1..].into();
    let json = String::from_utf8(world.get(&guest, DOCUMENT).body.to_vec()).unwrap();
    assert!(!json.contains("\"routes\""), "{json}");
}

#[test]
fn a_shell_reads_the_accounts_without_json_and_each_hash_is_audited() {
    let world = World::new();
    let guest = world.web();
    assert_eq!(world.text(&guest, "/mezame/v1/users/"), "admin/\nops/\nguest/\n");
    let reply = world.get(&guest, "/mezame/v1/users/admin/password-hash");
    assert_eq!(&reply.body[..], b"$6$saltsalt$THISHASHISASECRET\n");
    assert!(reply.no_store);
    let Some(Audit::PasswordHashes(users)) = reply.audit else { panic!("no audit") };
    assert_eq!(users.iter().map(|user| user.as_str()).collect::<Vec<_>>(), ["admin"]);
    // One that the guest is to make is none that it is told.
    for user in ["ops", "guest", "nobody"] {
        let reply = world.get(&guest, &format!("/mezame/v1/users/{user}/password-hash"));
        assert_eq!((reply.status, reply.audit), (Status::NotFound, None), "{user}");
    }
    assert_eq!(world.text(&guest, "/mezame/v1/users/admin/groups"), "adm\n");
    assert_eq!(world.text(&guest, "/mezame/v1/users/admin/sudo"), "true\n");
    assert_eq!(world.text(&guest, "/mezame/v1/users/guest/ssh-keys"), "");
    let with_shell = world.web_with(|it| it.users[2].shell = Some("/bin/ksh".into()));
    assert_eq!(world.text(&with_shell, "/mezame/v1/users/guest/shell"), "/bin/ksh\n");
    let nobody = world.web_with(|it| it.users.clear());
    assert_eq!(world.text(&nobody, "/mezame/v1/users/"), "");
}

#[test]
fn a_shell_is_told_nothing_that_opens_the_account_of_a_stopped_user() {
    let world = World::new();
    let admin = |guest: &Guest, leaf| world.get(guest, &format!("/mezame/v1/users/admin/{leaf}"));
    let text = |guest: &Guest, leaf| String::from_utf8(admin(guest, leaf).body.to_vec()).unwrap();
    let open = world.web();
    assert_eq!((text(&open, "stopped"), text(&open, "sudo")), ("false\n".into(), "true\n".into()));
    assert_ne!(text(&open, "ssh-keys"), "");
    let stopped = world.web_with(|it| it.users.iter_mut().for_each(|user| user.stopped = true));
    assert_eq!(text(&stopped, "stopped"), "true\n");
    assert_eq!((text(&stopped, "ssh-keys"), text(&stopped, "sudo")), ("".into(), "false\n".into()));
    assert_eq!(admin(&stopped, "password-hash").status, Status::NotFound);
}

#[test]
fn a_shell_learns_which_of_its_cards_is_in_which_network() {
    let world = World::new();
    let guest = world.web();
    let of = |mac: &str| world.text(&guest, &format!("/mezame/v1/interfaces/{mac}/network"));
    let names: Vec<String> =
        guest.ports.iter().map(|it| format!("{}\n", it.network.name)).collect();
    assert_eq!([of("52:54:00:ab:cd:01"), of("52:54:00:ab:cd:02")], names[..]);
    assert_ne!(names[0], names[1]);
}
