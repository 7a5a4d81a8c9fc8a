//! TLS with QEMU's own servers and with ours, and everybody that it is to be refused with.

use std::{
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    process::Command,
    sync::Arc,
};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use zeroize::Zeroizing;

use super::*;
use crate::nbd::{
    certificates::{Authority, ServerPair, Validity},
    tls::{Credentials, CredentialsError},
};

const NAME: &str = "point.mezame.invalid";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn now() -> Validity {
    Validity::around(now_ms()).unwrap()
}

/// Good until three weeks ago.
fn long_ago() -> Validity {
    Validity::around(now_ms() - 28 * DAY_MS).unwrap()
}

/// A directory as QEMU's servers read it.
fn keys(directory: &Path, authority: &Authority) {
    let ServerPair { certificate, key } = authority.server(now()).unwrap();
    let of_authority = authority.certificate();
    for (name, content) in [
        ("ca-cert.pem", &of_authority),
        ("server-cert.pem", &certificate),
        ("server-key.pem", &*key),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// A disk of fives, served by QEMU's storage daemon with TLS, to whoever has this identity.
fn served(directory: &Path, authority: &Authority, identity: &str) -> (Daemon, NbdAddress) {
    let (disk, socket) = (directory.join("disk"), directory.join("nbd"));
    std::fs::write(&disk, vec![5; 8 << 20]).unwrap();
    keys(directory, authority);
    let words = [
        format!("--object=authz-simple,id=guests,identity={identity}"),
        format!(
            "--object=tls-creds-x509,id=tls,dir={},endpoint=server,verify-peer=on",
            directory.display()
        ),
        format!("--blockdev=driver=file,node-name=disk,filename={}", disk.display()),
        format!(
            "--nbd-server=addr.type=unix,addr.path={},tls-creds=tls,tls-authz=guests",
            socket.display()
        ),
        "--export=type=nbd,id=a,node-name=disk,name=a,writable=on".into(),
    ];
    let daemon = Daemon::storage(&directory.join("qmp"), &[&socket], &words);
    (daemon, NbdAddress::Unix(socket))
}

fn open(address: &NbdAddress, protection: Protection<'_>) -> Result<Nbd, NbdError> {
    Nbd::open(address, protection, "a", &[ALLOCATION], BOUND)
}

#[test]
fn a_disk_is_read_and_written_over_tls_and_no_other_client_is_served() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::make(NAME, now()).unwrap();
    let identity = Authority::client_identity();
    let (_daemon, address) = served(directory.path(), &authority, &identity);
    let client = authority.client(now()).unwrap();
    let mut nbd = open(&address, Protection::Tls(&client)).unwrap();
    let mut seen = vec![0; 4 << 20];
    nbd.read(1 << 20, &mut seen).unwrap();
    assert!(seen.iter().all(|byte| *byte == 5));
    // What was sealed is a little more.
    assert!(nbd.passed() > 4 << 20 && nbd.passed() < 5 << 20, "{}", nbd.passed());
    drop(nbd);
    let mut plain = Nbd::open(&address, Protection::Tls(&client), "a", &[], BOUND).unwrap();
    plain.write(100, &vec![9; 1 << 20]).unwrap();
    plain.flush().unwrap();
    plain.read(99, &mut seen[..3]).unwrap();
    assert_eq!(seen[..3], [5, 9, 9]);
    // NBD_REP_ERR_TLS_REQD.
    let error = open(&address, Protection::Local).unwrap_err();
    assert!(matches!(error, NbdError::Unable(_) | NbdError::NoExport { .. }), "{error}");
    // Of the same name, by another authority, as it is made for each point in time.
    let other = Authority::make(NAME, now()).unwrap();
    let error = open(&address, Protection::Tls(&other.client(now()).unwrap())).unwrap_err();
    assert!(matches!(error, NbdError::Tls(_)), "{error}");
    // The right server, to whom another's client shows itself.
    let mixed = mixed(&authority, &other.client(now()).unwrap());
    open(&address, Protection::Tls(&mixed)).unwrap_err();
    let expired = authority.client(long_ago()).unwrap();
    open(&address, Protection::Tls(&expired)).unwrap_err();
    open(&address, Protection::Tls(&client)).unwrap();
}

/// A client of this authority's server that shows another one's certificate.
fn mixed(authority: &Authority, client: &Credentials) -> Credentials {
    let written = serde_json::to_value(client).unwrap();
    let text = |name: &str| written[name].as_str().unwrap().to_owned();
    let key = Zeroizing::new(text("key"));
    Credentials::of(&authority.certificate(), &text("certificate"), key, NAME).unwrap()
}

#[test]
fn a_certificate_of_the_right_authority_for_another_identity_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::make(NAME, now()).unwrap();
    let (_daemon, address) = served(directory.path(), &authority, "CN=somebody else");
    open(&address, Protection::Tls(&authority.client(now()).unwrap())).unwrap_err();
}

#[test]
fn qemu_nbd_is_read_over_tls() {
    let directory = tempfile::tempdir().unwrap();
    let (disk, socket) = (directory.path().join("disk"), directory.path().join("nbd"));
    std::fs::write(&disk, vec![5; 1 << 20]).unwrap();
    let authority = Authority::make(NAME, now()).unwrap();
    keys(directory.path(), &authority);
    let mut server = Command::new("qemu-nbd");
    server.args(["--format=raw", "--read-only", "--persistent", "--export-name=a"]);
    server.arg(format!(
        "--object=tls-creds-x509,id=tls,dir={},endpoint=server,verify-peer=on",
        directory.path().display()
    ));
    server.args(["--tls-creds=tls", "--socket"]).arg(&socket).arg(&disk);
    let _server = Daemon::start(&mut server, &[&socket]);
    let client = authority.client(now()).unwrap();
    let mut nbd = open(&NbdAddress::Unix(socket), Protection::Tls(&client)).unwrap();
    let mut seen = [0; 4096];
    nbd.read(4096, &mut seen).unwrap();
    assert_eq!(seen, [5; 4096]);
}

/// A server that begins TLS with this certificate, and says nothing in it.
fn tls_server(authority: &Authority, pair: &ServerPair) -> NbdAddress {
    let of_authority = CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(of_authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients =
        rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    scripted(move |mut stream| {
        acknowledge_tls(&mut stream)?;
        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        // A client that does not believe it goes; one that does says an option.
        stream.read_exact(&mut [0; 8])
    })
}

/// A server on loopback that does this with its first client.
fn scripted(serve: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static) -> NbdAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = NbdAddress::Tcp(listener.local_addr().unwrap());
    // The client may go at any time.
    thread::spawn(move || serve(listener.accept()?.0));
    address
}

fn acknowledge_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
    stream.read_exact(&mut [0; 20])?;
    stream.write_all(&reply(5, 1, 0))
}

/// The head of an option's reply.
fn reply(option: u32, kind: u32, length: u32) -> Vec<u8> {
    let words = [option, kind, length].map(u32::to_be_bytes).concat();
    [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &words].concat()
}

#[test]
fn a_server_is_known_by_its_authority_its_name_its_purpose_and_its_dates() {
    let authority = Authority::make(NAME, now()).unwrap();
    let client = authority.client(now()).unwrap();
    let cause = |pair: &ServerPair| {
        let error = open(&tls_server(&authority, pair), Protection::Tls(&client)).unwrap_err();
        format!("{error:?}")
    };
    // It is believed, and has no export.
    let cause_of_right = cause(&authority.server(now()).unwrap());
    assert!(cause_of_right.starts_with("Io("), "{cause_of_right}");
    let expired = cause(&authority.server(long_ago()).unwrap());
    assert!(expired.starts_with("Tls(") && expired.contains("Expired"), "{expired}");
    let other = Authority::make(NAME, now()).unwrap().server(now()).unwrap();
    let unknown = cause(&other);
    let is_told = unknown.contains("UnknownIssuer") || unknown.contains("BadSignature");
    assert!(unknown.starts_with("Tls(") && is_told, "{unknown}");
    // What a client has makes no server.
    let written = serde_json::to_value(&client).unwrap();
    let text = |name: &str| written[name].as_str().unwrap().to_owned();
    let pair = ServerPair { certificate: text("certificate"), key: Zeroizing::new(text("key")) };
    let purpose = cause(&pair);
    assert!(purpose.starts_with("Tls("), "{purpose}");
    let key = Zeroizing::new(text("key"));
    let elsewhere = Credentials::of(&text("authority"), &text("certificate"), key, "other.invalid");
    let address = tls_server(&authority, &authority.server(now()).unwrap());
    let error = open(&address, Protection::Tls(&elsewhere.unwrap())).unwrap_err();
    assert!(format!("{error:?}").contains("NotValidForName"), "{error:?}");
}

#[test]
fn a_man_in_the_middle_who_takes_starttls_away_is_told_nothing() {
    let client = Authority::make(NAME, now()).unwrap().client(now()).unwrap();
    let answers: [(&str, Vec<u8>); 5] = [
        // NBD_REP_ERR_UNSUP, as a server without TLS says.
        ("refusal", reply(5, 0x8000_0001, 0)),
        ("data with the acknowledgement", [reply(5, 1, 2), vec![0, 0]].concat()),
        ("an export", [reply(5, 3, 12), vec![0; 12]].concat()),
        ("another option's reply", reply(7, 1, 0)),
        ("an acknowledgement, and then no TLS", [reply(5, 1, 0), greeting(1)].concat()),
    ];
    for (what, answer) in answers {
        let (heard, all) = std::sync::mpsc::channel();
        let address = scripted(move |mut stream| {
            stream.write_all(b"NBDMAGICIHAVEOPT\0\x03")?;
            stream.write_all(&answer)?;
            let mut said = Vec::new();
            // Until the client goes, who may do so in the middle.
            let _ = stream.read_to_end(&mut said);
            heard.send(said).map_err(io::Error::other)
        });
        let error = open(&address, Protection::Tls(&client)).unwrap_err();
        let is_told =
            matches!(error, NbdError::NoTls { .. } | NbdError::NotNbd(_) | NbdError::Tls(_));
        assert!(is_told, "{what}: {error}");
        let said = all.recv_timeout(BOUND).unwrap();
        only_tls_was_asked_for(&said).unwrap_or_else(|()| panic!("{what}: {said:?}"));
    }
}

/// That there is nothing but the answer to a greeting, the wish for TLS, and TLS.
fn only_tls_was_asked_for(said: &[u8]) -> Result<(), ()> {
    let wish = [&[0, 0, 0, 3][..], b"IHAVEOPT", &[0, 0, 0, 5, 0, 0, 0, 0]].concat();
    let rest = said.get(wish.len()..).unwrap_or_default();
    let is_wish = wish.starts_with(&said[..said.len().min(wish.len())]);
    // A handshake, or an alert, of TLS' records.
    let is_tls = rest.is_empty() || matches!(rest, [0x16 | 0x15, 3, ..]);
    if is_wish && is_tls { Ok(()) } else { Err(()) }
}

#[test]
fn a_server_that_begins_tls_and_falls_silent_is_given_up_in_time() {
    let address = scripted(|mut stream| {
        acknowledge_tls(&mut stream)?;
        // A record's head, and then a byte now and then.
        stream.write_all(&[0x16, 3, 3, 0x40, 0])?;
        while stream.write_all(&[0]).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    });
    let client = Authority::make(NAME, now()).unwrap().client(now()).unwrap();
    let begin = Instant::now();
    let bound = Duration::from_millis(300);
    let error = Nbd::open(&address, Protection::Tls(&client), "a", &[], bound).unwrap_err();
    assert!(matches!(error, NbdError::Tls(_)), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn nothing_is_said_over_a_network_without_tls_unless_that_is_asked_for() {
    // Of a documentation's network (RFC 5737): nobody is there, and nobody is asked.
    let address = NbdAddress::Tcp("192.0.2.1:10809".parse().unwrap());
    let error = open(&address, Protection::Local).unwrap_err();
    assert!(matches!(error, NbdError::Exposed(_)), "{error}");
    let short = Duration::from_millis(1);
    let error = Nbd::open(&address, Protection::Clear, "a", &[], short).unwrap_err();
    assert!(matches!(error, NbdError::Connect { .. }), "{error}");
    for (address, is_exposed) in [
        ("127.0.0.9:1", false),
        ("[::1]:1", false),
        ("[::ffff:127.0.0.1]:1", false),
        ("0.0.0.0:1", true),
        ("[::]:1", true),
        ("10.0.0.1:1", true),
        ("[fe80::1]:1", true),
    ] {
        let exposed = NbdAddress::Tcp(address.parse().unwrap()).exposed();
        assert_eq!(exposed.is_some(), is_exposed, "{address}");
    }
}

#[test]
fn credentials_travel_whole_and_are_shown_to_nobody() {
    let authority = Authority::make(NAME, now()).unwrap();
    let [one, other] = [(); 2].map(|()| authority.client(now()).unwrap());
    let written = serde_json::to_string(&one).unwrap();
    let read: Credentials = serde_json::from_str(&written).unwrap();
    assert!(read == one && read != other);
    let shown = format!("{one:?}");
    assert!(shown.contains(NAME) && !shown.contains("BEGIN"), "{shown}");
    let text = |name: &str| -> String {
        serde_json::from_str::<serde_json::Value>(&written).unwrap()[name].as_str().unwrap().into()
    };
    let of = |authority: &str, certificate: &str, key: &str, name: &str| {
        Credentials::of(authority, certificate, Zeroizing::new(key.into()), name).unwrap_err()
    };
    let (authority, certificate, key) = (text("authority"), text("certificate"), text("key"));
    for error in [
        of("", &certificate, &key, NAME),
        of(&authority, "no certificate", &key, NAME),
        of(&authority, &certificate, &certificate, NAME),
        of(&authority, &certificate, &key, "no name"),
    ] {
        assert!(matches!(error, CredentialsError::Malformed(_)), "{error}");
        assert!(!format!("{error:?}").contains("BEGIN"));
    }
    // The key of another certificate.
    let key = serde_json::to_value(&other).unwrap()["key"].as_str().unwrap().to_owned();
    let error = of(&authority, &certificate, &key, NAME);
    assert!(matches!(error, CredentialsError::Unusable(_)), "{error}");
}

/// A server that says something, and remembers what it has heard.
struct Listening<'a>(Said<'a>, Vec<u8>);

impl Read for Listening<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Listening<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_a_server_says_a_client_that_wants_tls_asks_for_nothing_else(
        bends in prop::collection::vec((0_usize..120, any::<u8>()), 0..4),
        behind in prop::collection::vec(any::<u8>(), 0..100),
        length in 0_usize..140,
    ) {
        static CLIENT: std::sync::OnceLock<Credentials> = std::sync::OnceLock::new();
        let client = CLIENT.get_or_init(|| {
            Authority::make(NAME, now()).unwrap().client(now()).unwrap()
        });
        // As right as it can be without a key: a record of a handshake follows.
        let mut said =
            [&b"NBDMAGICIHAVEOPT\0\x03"[..], &reply(5, 1, 0), &[0x16, 3, 3, 0, 90], &behind].concat();
        for (at, byte) in bends {
            if let Some(bent) = said.get_mut(at) {
                *bent = byte;
            }
        }
        said.truncate(length);
        let mut server = Listening(Said(&said), Vec::new());
        let begun = handshake::greet(&mut server)
            .and_then(|()| handshake::ask_for_tls(&mut server))
            .and_then(|()| tls::begin(&mut server, client));
        prop_assert!(begun.is_err());
        let flags_are_less = server.1.get(3) != Some(&3);
        if flags_are_less && server.1.len() > 3 {
            server.1[3] = 3;
        }
        prop_assert!(only_tls_was_asked_for(&server.1).is_ok());
        prop_assert!(against_tls(&said, client).is_err());
    }
}
