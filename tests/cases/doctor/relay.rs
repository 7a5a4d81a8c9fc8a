//! Faults of something between a guest and the service that reads and writes HTTP.

use super::*;

/// Carries one request and its answer at a time, with their heads changed, from a loopback address
/// of the guest's.
fn relay(guest: &NamespaceGuest, change: fn(&str) -> String) -> String {
    let listener = guest.namespace().run(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    let namespace = guest.namespace().clone();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for from in listener.incoming().map_while(Result::ok) {
            let to = namespace.run(|| Dial::default().stream());
            let Ok(Ok(to)) = to else { return };
            let (mut back, mut forth) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            std::thread::spawn(move || carry(from, &mut forth, change));
            std::thread::spawn(move || carry(to, &mut back, change));
        }
    });
    format!("http://{address}")
}

/// Heads are changed; each arrives whole on this link, with its body in the same piece or later.
fn carry(mut from: TcpStream, to: &mut TcpStream, change: fn(&str) -> String) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        let piece = &bytes[..length];
        let end = piece.windows(4).position(|it| it == b"\r\n\r\n");
        let written = match end.map(|at| piece.split_at(at)) {
            Some((head, rest)) => {
                let lines = String::from_utf8_lossy(head);
                let head: Vec<String> = lines.split("\r\n").map(change).collect();
                to.write_all(&[head.join("\r\n").as_bytes(), rest].concat())
            }
            None => to.write_all(piece),
        };
        if written.is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn a_clock_that_is_off_is_named() {
    let patient = Patient::new();
    let url = relay(&patient.guest, |line| match line.get(..5) {
        Some(name) if name.eq_ignore_ascii_case("date:") => {
            "Date: Mon, 01 Jan 2035 00:00:00 GMT".to_owned()
        }
        _ => line.to_owned(),
    });
    let told = patient.examine(&format!("run; doctor --endpoint {url}"));
    told.assert_first("clock-skew", "either", "behind the metadata service's");
}

#[test]
fn a_token_that_something_takes_away_is_named() {
    let mut patient = Patient::new();
    let instance = patient.documents.iter_mut().find(|it| it["kind"] == "Instance").unwrap();
    instance["tokens"] = json!("required");
    patient.lab.operator.apply(&patient.documents).unwrap();
    wait::until("tokens to be required", SOON, || {
        let status = patient.guest.get("/latest/meta-data/")?.status;
        anyhow::ensure!(status == 401, "status {status}");
        Ok(())
    })
    .unwrap();
    let url = relay(&patient.guest, |line| {
        let is_token = line.to_ascii_lowercase().starts_with("x-aws-ec2-metadata-token:");
        if is_token { "X-Nothing: 1".to_owned() } else { line.to_owned() }
    });
    let told = patient.examine(&format!("run; doctor --endpoint {url}"));
    told.assert_first("unauthorized", "guest-owner", "takes the header away");
}

#[test]
fn an_endpoint_that_is_none_is_named_with_the_setting() {
    let patient = Patient::new();
    for wrong in ["http://192.168.0.10:81", "http://10.9.9.9"] {
        let told = patient.examine(&format!(
            "run; echo 'endpoint: {wrong}' > /etc/mezame/guest-agent.yaml; doctor"
        ));
        told.assert_first("wrong-endpoint", "guest-owner", "/etc/mezame/guest-agent.yaml");
    }
}

#[test]
fn a_proxy_in_the_environment_is_named_unless_the_service_is_spared() {
    let patient = Patient::new();
    let told = patient.examine("run; export http_proxy=http://user:hush@10.0.0.1:3128; doctor");
    told.assert_first("proxy", "guest-owner", "http_proxy");
    assert!(!told.text.contains("hush"), "{}", told.text);
    let told = patient.examine(
        "run; echo 'HTTP_PROXY=http://p' > /etc/environment; export no_proxy=169.254.169.254
         doctor",
    );
    assert_eq!(told.status, 0, "{}", told.text);
}
