//! Certificates of the record in an unmodified Debian: its own tool makes its bundle of them, its own
//! OpenSSL trusts what they have signed, and what the record has no more is trusted no more.

use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    process::{self, Background},
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// A certificate authority that OpenSSL makes, and a server's certificate that it has signed.
struct Authority {
    certificate: String,
    server: String,
}

impl Authority {
    fn make(directory: &std::path::Path) -> Self {
        let at = |name: &str| directory.join(name).display().to_string();
        let openssl = |words: &[&str]| {
            process::succeed(process::command("openssl").args(words)).unwrap();
        };
        let (key, ca, server_key) = (at("ca.key"), at("ca.pem"), at("server.key"));
        let (request, server) = (at("server.csr"), at("server.pem"));
        let new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let root = ["-x509", "-subj", "/CN=Tenant CA", "-days", "2", "-keyout", &key, "-out", &ca];
        openssl(&[&new[..], &root].concat());
        let ask = ["-subj", "/CN=server", "-keyout", &server_key, "-out", &request];
        openssl(&[&new[..], &ask].concat());
        let sign = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &key, "-CAcreateserial"];
        openssl(&[&sign[..], &["-days", "1", "-out", &server]].concat());
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        Self { certificate: read(&ca), server: read(&server) }
    }
}

#[test]
fn a_debian_trusts_what_the_record_names_and_no_longer_when_it_does_not() {
    let lab = Lab::start().unwrap();
    let authority = Authority::make(lab.directory());
    let tenant = |certificates: Value| {
        let more = json!({"dialects": ["mezame"], "trusted_certificates": certificates});
        seeds::tenant("tenant-a", 1000, "tapa", &more)
    };
    lab.operator.apply(&tenant(json!([authority.certificate]))).unwrap();
    let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
    seeds::until_known(&guest);
    let machine = ClientMachine::make(&guest, &[], lab.directory()).unwrap();
    let agent = machine.path("/usr/sbin/guest-agent");
    std::fs::copy(&lab.binaries.agent, &agent).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&agent, mode).unwrap();
    machine.write("/root/server.pem", &authority.server).unwrap();
    let verify = "openssl verify -CApath /etc/ssl/certs /root/server.pem > /root/said 2>&1";
    let boot = format!(
        "mount -t tmpfs run /run; guest-agent watch & \
         while sleep 0.2; do if {verify}; then echo yes; else echo no; fi > /root/trusts.new; \
         mv /root/trusts.new /root/trusts; done"
    );
    let log = lab.directory().join("machine.log");
    let mut command = machine.command(&["sh", "-c", &boot]);
    let mut running = Background::start("the machine", &mut command, &log).unwrap();
    let body = authority.certificate.lines().nth(1).unwrap();
    let bundle = || machine.read("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default();
    // The directory that is asked is ready a moment before the bundle is.
    let mut until = |wanted: &str, said: &str| {
        wait::until(&format!("{wanted:?}"), SOON * 4, || {
            running.ensure_running()?;
            let now = machine.read("/root/trusts").unwrap_or_default();
            let why = machine.read("/root/said").unwrap_or_default();
            anyhow::ensure!(now.trim() == wanted && why.contains(said), "{now}{why}");
            let is_in_bundle = bundle().contains(body);
            anyhow::ensure!(is_in_bundle == (wanted == "yes"), "in the bundle: {is_in_bundle}");
            Ok(())
        })
        .unwrap();
    };
    until("yes", "OK");
    let others = bundle().matches("BEGIN CERTIFICATE").count();
    assert!(others > 50, "{others}: the system's own are left");
    lab.operator.apply(&tenant(json!([]))).unwrap();
    until("no", "unable to get local issuer certificate");
    assert_eq!(bundle().matches("BEGIN CERTIFICATE").count(), others - 1);
}
