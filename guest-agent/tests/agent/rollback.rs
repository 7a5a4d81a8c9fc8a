//! A change of the network with which the service is lost: taken back, reported, and tried again.

use mezame_model::report::Outcome;

use super::{
    namespace::{Wire, guest_document, ip},
    service::{Service, Told},
};

#[test]
fn a_network_that_cuts_the_service_off_is_taken_back_and_reported() {
    let mac = "52:54:00:aa:00:06";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), guest_document(mac));
    let directory = tempfile::tempdir().unwrap();
    let good = directory.path().join("good");
    // It ends by itself, should this test end before it says so.
    let script = format!(
        "mkdir -p /etc/systemd/system/multi-user.target.wants
         ln -s x /etc/systemd/system/multi-user.target.wants/systemd-networkd.service
         $AGENT run --timeout 30 > /dev/null; ip address show eth0 | sed 's/^/before: /'
         for i in $(seq 600); do [ -e {} ] && break; sleep 0.1; done
         $AGENT run --json --timeout 30; echo \"rc $?\"
         ip address show eth0 | sed 's/^/after: /'; ip route | sed 's/^/after: /'
         cat /etc/systemd/network/* | sed 's/^/file: /'; ls /run/mezame-agent",
        good.display()
    );
    let output = std::thread::scope(|scope| {
        let shell = scope.spawn(|| wire.shell(&script));
        service.until("the first report", |told| told.reports.len() == 1);
        service.change(|told| {
            let interface = &mut told.document.as_mut().unwrap().interfaces[0];
            interface.mtu = 1400;
            interface.addresses = vec!["10.9.9.9/24".parse().unwrap()];
            // Nobody at the host's end has a way back to it.
            interface.gateways = vec!["10.9.9.1".parse().unwrap()];
        });
        std::fs::write(&good, "").unwrap();
        shell.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("before:     inet 192.168.0.10/24"), "{output:?}");
    assert!(
        text.contains("after:     inet 192.168.0.10/24") && !text.contains("10.9.9.9"),
        "{text}"
    );
    assert!(text.contains("after: default via 192.168.0.1"), "{text}");
    let mtu = |line: &str| line.starts_with("after: ") && line.contains("mtu 1450");
    assert!(text.lines().any(mtu), "{text}");
    assert!(text.contains("file: Address=192.168.0.10/24") && text.contains("rc 1"), "{text}");
    assert!(!text.contains("network-before"), "{text}");
    service.look(|told| {
        let report = &told.reports[1];
        let failed = report.steps.iter().filter(|step| step.reason == "rolled-back");
        let failed: Vec<_> = failed.map(|step| step.step.as_str()).collect();
        assert_eq!(failed, ["interface eth0", "network configuration"]);
    });
}

#[test]
fn a_change_that_was_taken_back_is_tried_again_without_another_change_of_the_document() {
    let mac = "52:54:00:aa:00:09";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), guest_document(mac));
    let directory = tempfile::tempdir().unwrap();
    let end = directory.path().join("end");
    // It ends by itself, should this test end before it says so.
    let script = format!(
        "$AGENT watch & for i in $(seq 900); do [ -e {} ] && break; sleep 0.1; done
         ip address show eth0; ip route; kill $!",
        end.display()
    );
    let output = std::thread::scope(|scope| {
        let shell = scope.spawn(|| wire.shell(&script));
        service.until("the first report", |told| told.reports.len() == 1);
        service.change(|told| {
            let interface = &mut told.document.as_mut().unwrap().interfaces[0];
            interface.addresses = vec!["10.9.9.9/24".parse().unwrap()];
            interface.gateways = vec!["10.9.9.1".parse().unwrap()];
        });
        let rolled_back = |told: &Told| {
            let last = told.reports.last().unwrap();
            last.steps.iter().any(|step| step.reason == "rolled-back")
        };
        service.until("the change's end", rolled_back);
        // Only now the host's end learns of the move, and nobody tells the guest.
        ip(&format!("-n {} route add 10.9.9.0/24 dev tap", wire.host));
        service.until("a good end", |told| !rolled_back(told));
        std::fs::write(&end, "").unwrap();
        shell.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inet 10.9.9.9/24") && !text.contains("192.168.0.10"), "{output:?}");
    assert!(text.contains("default via 10.9.9.1"), "{text}");
    service.look(|told| assert!(told.reports.last().unwrap().outcome == Outcome::Done));
}
