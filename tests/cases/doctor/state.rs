//! Faults of the record, and of the agent itself.

use super::*;

#[test]
fn a_port_without_an_instance_has_no_record_yet() {
    let patient = Patient::new();
    patient.lab.operator.delete("instance", "tenant-a", "guest").unwrap();
    wait::until("the record to go", SOON, || {
        let status = patient.guest.get("/")?.status;
        anyhow::ensure!(status == 503, "status {status}");
        Ok(())
    })
    .unwrap();
    patient.examine("doctor").assert_first("not-ready", "operator", "no whole record");
}

#[test]
fn an_endpoint_that_is_off_is_named() {
    let patient = Patient::with(&json!({"tokens": "off"}), &["192.168.0.10/24"]);
    wait::until("the record", SOON, || {
        let status = patient.guest.get("/")?.status;
        anyhow::ensure!(status == 403, "status {status}");
        Ok(())
    })
    .unwrap();
    patient.examine("doctor").assert_first("endpoint-off", "operator", "tokens");
}

#[test]
fn an_instance_that_speaks_other_dialects_alone_is_named() {
    let patient = Patient::with(&json!({"dialects": ["ec2"]}), &["192.168.0.10/24"]);
    seeds::until_known(&patient.guest);
    patient.examine("doctor").assert_first("no-document", "operator", "dialects");
}

#[test]
fn an_agent_that_nothing_starts_is_named_with_what_should() {
    let patient = Patient::new();
    let unit = "mkdir -p /etc/systemd/system
        printf '[Service]\\nExecStart=/usr/sbin/guest-agent watch\\n' > \
            /etc/systemd/system/mezame-agent.service\n";
    let told = patient.examine(&format!("{unit}doctor"));
    told.assert_first("not-started", "guest-owner", "systemctl enable --now mezame-agent.service");
    let told = patient.examine(&format!(
        "{unit}mkdir /etc/systemd/system/multi-user.target.wants
         ln -s ../mezame-agent.service /etc/systemd/system/multi-user.target.wants/; doctor"
    ));
    told.assert_first("not-started", "guest-owner", "is enabled");
}

#[test]
fn a_run_that_was_cut_off_is_named() {
    let seed = "#!/bin/sh\nkill -9 $PPID\nsleep 60\n";
    let mut more = speaks_mezame();
    more["user_data"] = seed.into();
    let patient = Patient::with(&more, &["192.168.0.10/24"]);
    seeds::until_known(&patient.guest);
    patient.examine("run; doctor").assert_first("run-cut-off", "guest-owner", "ledger");
}

#[test]
fn a_script_that_failed_is_named_with_its_output() {
    let mut more = speaks_mezame();
    more["user_data"] = "#!/bin/sh\necho no such mirror >&2\nexit 9\n".into();
    let patient = Patient::with(&more, &["192.168.0.10/24"]);
    seeds::until_known(&patient.guest);
    let told = patient.examine("run; doctor");
    told.assert_first("step-failed", "either", "no such mirror");
    assert!(told.text.contains("output/user-data-script-1.log"), "{}", told.text);
}

#[test]
fn an_mtu_that_somebody_has_raised_is_named() {
    let patient = Patient::new();
    let told = patient.examine("run; ip link set eth0 mtu 9000; doctor");
    told.assert_first("mtu", "guest-owner", "9000");
}

#[test]
fn an_address_that_somebody_has_taken_off_is_named() {
    let patient = Patient::new();
    let told = patient
        .examine("run; ip address flush dev eth0; ip address add 169.254.7.7/16 dev eth0; doctor");
    told.assert_first("address-missing", "guest-owner", "192.168.0.10/24");
}

#[test]
fn a_card_of_the_record_that_the_guest_has_not_is_named() {
    let mut patient = Patient::new();
    patient.documents.push(mezame_tests::operator::port(
        "tenant-a",
        "second",
        "lan",
        "52:54:00:00:00:0c",
        &["192.168.0.12"],
        "tapc",
    ));
    let instance = patient.documents.iter_mut().find(|it| it["kind"] == "Instance").unwrap();
    instance["ports"] = json!(["port", "second"]);
    patient.lab.operator.apply(&patient.documents).unwrap();
    let _tap = Tap::create(&patient.lab.hypervisor, "tapc", Offload::None).unwrap();
    wait::until("the second card in the document", SOON, || {
        let told = patient.examine("run; doctor");
        anyhow::ensure!(!told.findings.is_empty(), "{}", told.text);
        told.assert_first("no-such-interface", "either", "52:54:00:00:00:0c");
        Ok(())
    })
    .unwrap();
}
